(data_type name: (_) @name) @type
(newtype name: (_) @name) @type
(type_synomym name: (_) @name) @type
(type_family name: (_) @name) @type
(class name: (_) @name declarations: (_)? @body) @class
(instance patterns: (type_patterns (_) @name) declarations: (_)) @extension

(data_constructor [
  (prefix name: (constructor) @name)
  (record name: (constructor) @name)
  (infix operator: (_) @name)
]) @constant
(newtype_constructor name: (constructor) @name) @constant
(field name: (field_name (variable) @name)) @field

(function name: (variable) @name match: (_) @body) @function
(function name: (prefix_id (operator) @name) match: (_) @body) @function
(function (infix operator: (operator) @name) match: (_) @body) @function
(function (infix operator: (infix_id (variable) @name)) match: (_) @body) @function
(bind name: (variable) @name match: (_) @body) @function
(foreign_import signature: (signature name: (variable) @name)) @function

; The type of a member is what defines it; elsewhere it belongs to the equations that follow.
(class_declarations (signature name: (variable) @name) @method)
(class_declarations (signature name: (prefix_id (operator) @name)) @method)
(declarations (signature) @prefix @signature)
(local_binds (signature) @prefix @signature)
