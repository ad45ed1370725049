; Containers are values: a constant that is bound to one is the definition of a type. A tagged union, `union(enum)`, is a union.

(Decl (VarDecl variable_type_function: (IDENTIFIER) @name)) @variable
(Decl (VarDecl "const" variable_type_function: (IDENTIFIER) @name)) @constant
(Decl
  (VarDecl
    "const"
    variable_type_function: (IDENTIFIER) @name
    (ErrorUnionExpr (SuffixExpr (ContainerDecl (ContainerDeclType "struct") "{" @body))))) @struct
(Decl
  (VarDecl
    "const"
    variable_type_function: (IDENTIFIER) @name
    (ErrorUnionExpr (SuffixExpr (ContainerDecl (ContainerDeclType "enum") "{" @body))))) @enum
(Decl
  (VarDecl
    "const"
    variable_type_function: (IDENTIFIER) @name
    (ErrorUnionExpr (SuffixExpr (ContainerDecl (ContainerDeclType "union") "{" @body))))) @union
(Decl
  (VarDecl "const" variable_type_function: (IDENTIFIER) @name (ErrorUnionExpr (SuffixExpr (ErrorSetDecl) @body)))) @enum

(ContainerField field_member: (IDENTIFIER) @name) @field
(ContainerDecl
  (ContainerDeclType "enum")
  (ContainerField . (ErrorUnionExpr (SuffixExpr variable_type_function: (IDENTIFIER) @name))) @constant)
(ErrorSetDecl field_constant: (IDENTIFIER) @name @constant)

(Decl (FnProto function: (IDENTIFIER) @name) (Block)? @body) @function
(TestDecl [(STRINGLITERALSINGLE) (IDENTIFIER)] @name (Block) @body) @test

"pub" @prefix
