(class_definition name: (identifier) @name) @class
(function_definition name: (identifier) @name) @function
(type_alias_statement left: (type [(identifier) @name (generic_type . (identifier) @name)])) @type

(module (assignment left: [(identifier) @name (pattern_list (identifier) @name)]) @variable)
(module (assignment left: (identifier) @name right: (lambda body: (_) @body)) @function)
(class_definition body: (block (assignment left: (identifier) @name) @field))

; Names that depend on a condition are names of the module all the same.
(module (if_statement (block (assignment left: (identifier) @name) @variable)))
(module (if_statement (else_clause (block (assignment left: (identifier) @name) @variable))))
(module (try_statement (block (assignment left: (identifier) @name) @variable)))
(module (try_statement (except_clause (block (assignment left: (identifier) @name) @variable))))

(function_definition name: (identifier) @name body: (block . (string) @doc))
(class_definition name: (identifier) @name body: (block . (string) @doc))
