"""Kinds of definitions: the one vocabulary for all languages, and what follows from a kind.

module, namespace, class, struct, interface, trait, enum, union, type; function, method (a function of any of the former but
modules, namespaces and types), constructor, macro, test; property (a member with accessors, where the language has those),
field, constant (also the members of an enum), variable; section (of a document). Variables are those of modules and types,
never locals; one that is all capitals is a constant.

Belongs here: kinds and their groups. Not here: how they are found (`queries`, `definitions`).
"""

from __future__ import annotations

KINDS = (
    "constructor",
    "test",
    "method",
    "function",
    "macro",
    "union",
    "enum",
    "interface",
    "trait",
    "struct",
    "class",
    "type",
    "namespace",
    "module",
    "section",
    "constant",
    "property",
    "field",
    "variable",
)
"""All kinds, the more specific first: of several matches for one name, the first in this order is taken."""

PROVISIONAL = {"declared": "function", "promoted": "field"}
"""Captures that become a kind: a function without body, a parameter that is a field."""
NAMELESS = ("extension", "scope", "local")
"""Captures of what encloses definitions without being one."""
RANK = {kind: rank for rank, kind in enumerate((*KINDS, *NAMELESS))}
RANK |= {capture: RANK[kind] for capture, kind in PROVISIONAL.items()}

CLASS_LIKE = frozenset({"class", "struct", "interface", "trait", "enum", "union", "extension"})
"""What functions are methods of."""
FUNCTION_LIKE = frozenset({"function", "method", "constructor", "macro", "test", "local"})
"""What variables are locals of."""
DATA = frozenset({"variable", "constant", "field", "property", "declared"})
"""What is nobody's business inside of a function."""
FIELD_HOLDERS = CLASS_LIKE | {"module", "type", "constant"}
"""What fields and properties are members of; elsewhere they are variables."""
