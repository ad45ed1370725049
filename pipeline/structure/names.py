"""Names of definitions: from the node that a query captured to the name itself and to what it belongs.

Belongs here: declarators, paths such as `A::b` or `M.f`, receivers. Not here: nesting (`definitions`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

MAX_NAME_BYTES = 256

_INTO = {
    "qualified_identifier": "name",
    "scope_resolution": "name",
    "template_function": "name",
    "template_method": "name",
    "template_type": "name",
    "generic_type": "type",
    "dot_index_expression": "field",
    "method_index_expression": "method",
    "member_expression": "property",
    "pointer_declarator": "declarator",
    "function_declarator": "declarator",
    "array_declarator": "declarator",
    "init_declarator": "declarator",
    "attributed_declarator": "declarator",
    "parenthesized_declarator": "declarator",
    "reference_declarator": "declarator",
}
"""Node type -> the field that leads towards the name; where the field is absent, the last named child does."""
_OWNER = {
    "qualified_identifier": "scope",
    "scope_resolution": "scope",
    "dot_index_expression": "table",
    "method_index_expression": "table",
    "member_expression": "object",
}
"""Node type -> the field with what the name belongs to."""
_MEMBER_PATHS = frozenset({"qualified_identifier", "method_index_expression"})
_UNFIT = frozenset({"structured_binding_declarator", "ERROR", "this", "subscript_expression"})
_EXPORTS = frozenset({"exports", "module.exports", "this"})
_PREFIXED = frozenset({"atom", "simple_symbol"})
_CONSTRUCTORS = {
    "python": "__init__",
    "javascript": "constructor",
    "typescript": "constructor",
    "tsx": "constructor",
    "php": "__construct",
    "ruby": "initialize",
    "scala": "this",
}
_NOISE = re.compile(r"'\w+|\b(?:mut|dyn|const|struct|class)\b|[&*()\[\]]")
_PATH = re.compile(r"[\w$]+(?:(?:::|\.|\\)[\w$]+)*")
_SEPARATOR = re.compile(r"::|\\")


@dataclass(frozen=True, slots=True)
class Name:
    """A name where it stands. `owners` are what it says itself that it belongs to, from the outside in."""

    text: str
    start: int
    """Byte offset of `text` in the file."""
    owners: tuple[str, ...] = ()
    is_member: bool = False
    """Whether the way in which it is written makes it a member: `A::b`, `function M:f`, `(s *Stack) Push`."""

    @property
    def qualified(self) -> str:
        """The name as a part of a qualified one."""
        return _SEPARATOR.sub(".", self.text) if ":" in self.text or "\\" in self.text else self.text


def constructor_name(lang: str, owner: str) -> str | None:
    """What a constructor of the class `owner` is called, where it has a name of its own."""
    return owner.rpartition(".")[2] if lang == "cpp" else _CONSTRUCTORS.get(lang)


def scope_name(content: bytes, node: Any) -> str:
    """The name of a type or a namespace as a part of qualified names: `geo::Shape<'a>` is `geo.Shape`."""
    start = node.start_byte
    text = content[start : min(node.end_byte, start + MAX_NAME_BYTES)].decode("utf-8", "replace")
    match = _PATH.search(_NOISE.sub(" ", text.split("<")[0]))
    return _SEPARATOR.sub(".", match[0]) if match else ""


def name_of(content: bytes, node: Any, receiver: Any = None) -> Name | None:
    """The name that a captured node leads to, or None where there is none (anonymous, broken, or not a single name)."""
    owners = [scope_name(content, receiver)] if receiver is not None else []
    is_member = False
    kind = node.type
    while kind in _INTO:
        if kind in _OWNER:
            owner = node.child_by_field_name(_OWNER[kind])
            if owner is not None:
                named = scope_name(content, owner)
                if named.endswith(".prototype"):
                    named, is_member = named.removesuffix(".prototype"), True
                owners.append("" if named in _EXPORTS else named)
            is_member |= kind in _MEMBER_PATHS and owner is not None
        inner = node.child_by_field_name(_INTO[kind])
        if inner is None:
            inner = node.named_child(node.named_child_count - 1) if node.named_child_count else None
        if inner is None:
            return None
        node, kind = inner, inner.type
    if kind in _UNFIT:
        return None
    return _plain(content, node, kind, tuple(owner for owner in owners if owner), is_member)


def _plain(content: bytes, node: Any, kind: str, owners: tuple[str, ...], is_member: bool) -> Name | None:
    # Never `node.text`: it crashes on trees that were read through a callback.
    start, end = node.start_byte, node.end_byte
    raw = content[start:end] if end - start <= MAX_NAME_BYTES else b""
    if not raw or b"\n" in raw or b"\r" in raw:
        return None
    if kind in _PREFIXED:
        raw, start = raw[1:], start + 1
    elif kind == "keyword":
        raw = raw.rstrip(b": ")
    elif kind == "operator_cast":
        raw = raw.split(b"(")[0].rstrip()
    elif len(raw) > 2 and raw[:1] == raw[-1:] and raw[:1] in b"\"'`":
        raw, start = raw[1:-1], start + 1
    text = raw.decode("utf-8", "replace")
    return Name(text, start, owners, is_member) if text and text != "_" else None
