(module name: (_) @name) @module
(class name: (_) @name) @class

(method name: (_) @name) @function
(singleton_method object: (self) name: (_) @name) @method
(singleton_method object: [(constant) (identifier)] @receiver name: (_) @name) @method

(assignment left: (constant) @name) @constant
(assignment left: (class_variable) @name) @field
(program (assignment left: [(identifier) (global_variable)] @name) @variable)
(program (assignment left: (identifier) @name right: (lambda)) @function)

(call
  method: (identifier) @_keyword
  arguments: (argument_list (simple_symbol) @name)
  (#among? @_keyword "attr_reader" "attr_accessor" "attr_writer" "cattr_accessor" "mattr_accessor" "class_attribute")) @property

(lambda) @local
