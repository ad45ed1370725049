(class_declaration declaration_kind: ["class" "actor"] name: (type_identifier) @name) @class
(class_declaration declaration_kind: "struct" name: (type_identifier) @name) @struct
(class_declaration declaration_kind: "enum" name: (type_identifier) @name) @enum
(class_declaration declaration_kind: "extension" name: (_) @name) @extension
(protocol_declaration name: (type_identifier) @name) @interface
(typealias_declaration "typealias" . name: (type_identifier) @name) @type
(associatedtype_declaration name: (type_identifier) @name) @type

(enum_entry name: (simple_identifier) @name) @constant
(property_declaration
  name: (pattern bound_identifier: (simple_identifier) @name)
  computed_value: (_)? @body) @property
(protocol_property_declaration name: (pattern bound_identifier: (simple_identifier) @name)) @property

(init_declaration name: "init" @name) @constructor
(deinit_declaration "deinit" @name) @method
(subscript_declaration "subscript" @name (computed_property)? @body) @method
(function_declaration
  name: [
    (simple_identifier)
    (custom_operator)
    "==" "!=" "===" "<" ">" "<=" ">=" "+" "-" "*" "/" "%"
  ] @name) @function
(protocol_function_declaration
  name: [
    (simple_identifier)
    (custom_operator)
    "==" "!=" "===" "<" ">" "<=" ">=" "+" "-" "*" "/" "%"
  ] @name) @function

(lambda_literal) @local
(computed_property) @local
(willset_didset_block) @local
