; inherits: _c

(namespace_definition name: (_) @name) @namespace
(class_specifier name: (_) @name body: (_)) @class
(alias_declaration name: (type_identifier) @name) @type
(concept_definition name: (identifier) @name) @type

; Members that are declared here and defined elsewhere.
(field_declaration declarator: (function_declarator declarator: [(field_identifier) (operator_name)] @name)) @declared
(field_declaration
  declarator: (pointer_declarator declarator: (function_declarator declarator: (field_identifier) @name))) @declared
(field_declaration
  declarator: (reference_declarator (function_declarator declarator: [(field_identifier) (operator_name)] @name))) @declared
(declaration declarator: (function_declarator declarator: (destructor_name) @name)) @declared
(declaration declarator: (reference_declarator (function_declarator declarator: (identifier) @name))) @declared

(lambda_expression) @local
