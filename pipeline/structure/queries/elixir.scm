; Everything in Elixir is a call; what it defines is told by the name of what is called.

(call
  target: (identifier) @_keyword
  (arguments . (alias) @name)
  (do_block)? @body
  (#among? @_keyword "defmodule")) @module

(call
  target: (identifier) @_keyword
  (arguments . (alias) @name)
  (do_block)? @body
  (#among? @_keyword "defprotocol")) @interface

; Functions of an implementation belong to the protocol that it implements, for a type.
(call
  target: (identifier) @_keyword
  (arguments . (alias) @name)
  (do_block)
  (#among? @_keyword "defimpl")) @extension

(call
  target: (identifier) @_keyword
  (arguments . [
    (identifier) @name
    (call target: (identifier) @name)
    (binary_operator left: [(identifier) @name (call target: (identifier) @name)] operator: "when")
  ] (keywords (pair value: (_) @body))?)
  (do_block)? @body
  (#among? @_keyword "def" "defp" "defdelegate" "defn" "defnp")) @function

; Operators: `def a <~> b`.
(call
  target: (identifier) @_keyword
  (arguments . (binary_operator left: (identifier) operator: _ @name right: (identifier)))
  (do_block)? @body
  (#among? @_keyword "def" "defp")
  (#not-among? @name "when")) @function

(call
  target: (identifier) @_keyword
  (arguments . [
    (identifier) @name
    (call target: (identifier) @name)
    (binary_operator left: [(identifier) @name (call target: (identifier) @name)] operator: "when")
  ] (keywords (pair value: (_) @body))?)
  (do_block)? @body
  (#among? @_keyword "defmacro" "defmacrop" "defguard" "defguardp")) @macro

(call
  target: (identifier) @_keyword
  (arguments . [(list [(atom) @name (keywords (pair key: (keyword) @name))]) (keywords (pair key: (keyword) @name))])
  (#among? @_keyword "defstruct" "defexception")) @field

(call
  target: (identifier) @_keyword
  (arguments . (string (quoted_content) @name))
  (do_block) @body
  (#among? @_keyword "test")) @test

(unary_operator
  operator: "@"
  operand: (call
    target: (identifier) @_keyword
    (arguments . (binary_operator left: [(identifier) @name (call target: (identifier) @name)] operator: "::")))
  (#among? @_keyword "type" "typep" "opaque")) @type

(unary_operator
  operator: "@"
  operand: (call
    target: (identifier) @_keyword
    (arguments . (binary_operator left: (call target: (identifier) @name) operator: "::")))
  (#among? @_keyword "callback" "macrocallback")) @function

(unary_operator
  operator: "@"
  operand: (call target: (identifier) @name (arguments))
  (#not-among? @name
    "moduledoc" "doc" "typedoc" "shortdoc" "spec" "impl" "type" "typep" "opaque" "callback" "macrocallback" "behaviour" "derive"
    "deprecated" "dialyzer" "compile" "before_compile" "after_compile" "on_load" "external_resource" "tag" "moduletag"
    "describetag" "enforce_keys" "optional_callbacks" "attr" "slot")) @constant

; What stands before a definition and belongs to it.
(unary_operator
  operator: "@"
  operand: (call target: (identifier) @_keyword)
  (#among? @_keyword "spec" "impl" "deprecated" "tag" "dialyzer" "doc" "typedoc" "attr" "slot")) @prefix

(unary_operator
  operator: "@"
  operand: (call target: (identifier) @_keyword (arguments . [(string) (sigil)] @doc))
  (#among? @_keyword "doc" "typedoc")) @prefix

(call
  (arguments . (alias) @name)
  (do_block
    (unary_operator
      operator: "@"
      operand: (call target: (identifier) @_keyword (arguments . [(string) (sigil)] @doc))))
  (#among? @_keyword "moduledoc"))
