(function_declaration name: (identifier) @name) @function

(method_declaration
  receiver: (parameter_list
    (parameter_declaration
      type: [
        (_) @receiver
        (pointer_type (_) @receiver)
      ]))
  name: (field_identifier) @name) @method

(type_spec name: (type_identifier) @name) @type
(type_spec name: (type_identifier) @name type: (struct_type (field_declaration_list) @body)) @struct
(type_spec name: (type_identifier) @name type: (interface_type "{" @body)) @interface
(type_alias name: (type_identifier) @name) @type

(field_declaration name: (field_identifier) @name) @field
(method_elem name: (field_identifier) @name) @method

(const_spec name: (identifier) @name) @constant
(var_spec name: (identifier) @name) @variable

(func_literal) @local
