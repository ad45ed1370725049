(mod_item name: (identifier) @name body: (_)) @module
(struct_item name: (type_identifier) @name) @struct
(enum_item name: (type_identifier) @name) @enum
(union_item name: (type_identifier) @name) @union
(trait_item name: (type_identifier) @name) @trait
(type_item name: (type_identifier) @name type: (_)) @type
(associated_type name: (type_identifier) @name) @type
(impl_item type: (_) @name) @extension

(enum_variant name: (identifier) @name) @constant
(field_declaration_list (field_declaration name: (field_identifier) @name) @field)
(const_item name: (identifier) @name) @constant
(static_item name: (identifier) @name) @variable

(function_item name: (_) @name) @function
(function_signature_item name: (_) @name) @function
(macro_definition name: (identifier) @name . (macro_rule) @body) @macro

(closure_expression) @local

(attribute_item) @prefix
