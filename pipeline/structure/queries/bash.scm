; Functions, and assignments outside of functions.

(function_definition name: (word) @name) @function

(variable_assignment name: (variable_name) @name) @variable
(declaration_command
  ["readonly" "declare" "typeset"] @_keyword
  (variable_assignment name: (variable_name) @name) @constant
  (#among? @_keyword "readonly"))

; Assignments before a command are that command's environment.
(command (variable_assignment) @local)
(subshell) @local
