; Shared by C and C++. Names stand inside declarators, however deep; a captured declarator is followed down to its name.

(struct_specifier name: (_) @name body: (_)) @struct
(union_specifier name: (_) @name body: (_)) @union
(enum_specifier name: (_) @name body: (_)) @enum
(enumerator name: (identifier) @name) @constant

(field_declaration declarator: (_) @name) @field

(type_definition declarator: (_) @name) @type
(type_definition type: (struct_specifier !name body: (_) @body) declarator: (type_identifier) @name) @struct
(type_definition type: (union_specifier !name body: (_) @body) declarator: (type_identifier) @name) @union
(type_definition type: (enum_specifier !name body: (_) @body) declarator: (type_identifier) @name) @enum

(preproc_def name: (identifier) @name) @macro
(preproc_function_def name: (identifier) @name value: (_)? @body) @macro

(declaration declarator: (_) @name) @variable
(declaration (type_qualifier) @_qualifier declarator: (_) @name (#among? @_qualifier "const" "constexpr")) @constant

; Prototypes. A function pointer, `int (*name)(int)`, is a variable.
(declaration declarator: (function_declarator declarator: (identifier) @name)) @declared
(declaration declarator: (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))) @declared
(declaration
  declarator: (pointer_declarator
    declarator: (pointer_declarator declarator: (function_declarator declarator: (identifier) @name)))) @declared

(function_definition declarator: (_) @name) @function
