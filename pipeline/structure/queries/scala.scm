(package_clause name: (_) @name body: (_)) @scope
(class_definition name: (_) @name) @class
(object_definition name: (_) @name) @class
(trait_definition name: (_) @name) @trait
(enum_definition name: (_) @name) @enum
(type_definition name: (type_identifier) @name) @type
(extension_definition parameters: (parameters . (parameter type: (_) @name))) @extension

(simple_enum_case name: (identifier) @name) @constant
(full_enum_case name: (identifier) @name) @constant
(class_definition "case" class_parameters: (class_parameters (class_parameter name: (identifier) @name) @field))
(val_definition pattern: (identifier) @name) @field
(val_definition pattern: (identifiers (identifier) @name)) @field
(val_declaration name: (identifier) @name) @field
(var_definition pattern: (identifier) @name) @field
(var_declaration name: (identifier) @name) @field
(given_definition name: (identifier) @name) @field

(function_definition name: (_) @name) @function
(function_declaration name: (_) @name) @function

(lambda_expression) @local
(case_block) @local
