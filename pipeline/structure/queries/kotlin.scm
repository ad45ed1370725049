(class_declaration (type_identifier) @name [(class_body) (enum_class_body)]? @body) @class
(class_declaration "interface" (type_identifier) @name (class_body)? @body) @interface
(class_declaration "enum" (type_identifier) @name (enum_class_body)? @body) @enum
(object_declaration (type_identifier) @name (class_body)? @body) @class
(companion_object (type_identifier) @name (class_body)? @body) @class
(type_alias (type_identifier) @name) @type

(enum_entry (simple_identifier) @name (class_body)? @body) @constant
(class_parameter (binding_pattern_kind) (simple_identifier) @name) @property
(property_declaration (variable_declaration (simple_identifier) @name)) @property

(secondary_constructor "constructor" @name (statements)? @body) @constructor
(function_declaration (simple_identifier) @name (function_body)? @body) @function
(function_declaration
  receiver: (receiver_type (user_type) @receiver)
  (simple_identifier) @name
  (function_body)? @body) @method

(anonymous_initializer) @local
(lambda_literal) @local
(getter) @local
(setter) @local
