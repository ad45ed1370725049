"""How good an index is: queries made from the repository, what they find, and what cannot be found."""
