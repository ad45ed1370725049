; `namespace A;` names the whole file and is no scope of its own.
(namespace_definition name: (_) @name body: (_)) @scope

(class_declaration name: (name) @name) @class
(interface_declaration name: (name) @name) @interface
(trait_declaration name: (name) @name) @trait
(enum_declaration name: (name) @name) @enum
(enum_case name: (name) @name) @constant

(declaration_list (const_declaration (const_element . (name) @name)) @field)
(program (const_declaration (const_element . (name) @name)) @constant)
(namespace_definition (compound_statement (const_declaration (const_element . (name) @name)) @constant))
(property_declaration (property_element name: (variable_name (name) @name))) @field
(property_promotion_parameter name: (variable_name (name) @name)) @promoted

(function_definition name: (name) @name) @function
(method_declaration name: (name) @name) @method

(program (expression_statement (assignment_expression left: (variable_name (name) @name)) @variable))
(program
  (expression_statement
    (assignment_expression
      left: (variable_name (name) @name)
      right: [(anonymous_function body: (_) @body) (arrow_function body: (_) @body)]) @function))
(function_call_expression
  function: (name) @_keyword
  arguments: (arguments . (argument (string (string_content) @name)))
  (#among? @_keyword "define")) @constant

(anonymous_function) @local
