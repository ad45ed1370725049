"""The ways in which a search looks for chunks, each a module with a function `ask`; `registry` lists them."""
