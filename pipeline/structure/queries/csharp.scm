(namespace_declaration name: (_) @name) @scope

(class_declaration name: (identifier) @name) @class
(record_declaration name: (identifier) @name) @class
(struct_declaration name: (identifier) @name) @struct
(interface_declaration name: (identifier) @name) @interface
(enum_declaration name: (identifier) @name) @enum
(delegate_declaration name: (identifier) @name) @type

(enum_member_declaration name: (identifier) @name) @constant
(field_declaration (variable_declaration (variable_declarator name: (identifier) @name))) @field
(event_field_declaration (variable_declaration (variable_declarator name: (identifier) @name))) @field
(event_declaration name: (identifier) @name) @property
(property_declaration name: (identifier) @name [accessors: (_) value: (_)] @body) @property
(record_declaration (parameter_list (parameter name: (identifier) @name) @property))

(constructor_declaration name: (identifier) @name) @constructor
(method_declaration name: (identifier) @name) @method
(operator_declaration operator: _ @name) @method
(local_function_statement name: (identifier) @name) @function

(lambda_expression) @local
(accessor_declaration) @local
(global_statement (local_declaration_statement) @local)
