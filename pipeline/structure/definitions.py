"""Definitions: what a file names, by one tree-sitter query a language, put together the same way for all of them.

A query (`queries/<lang>.scm`) captures the defining node under its kind, its name as `@name`, and where needed `@body` (the
signature ends there), `@receiver` (what the name belongs to), `@doc`. A pattern with only `@name` and `@doc` documents the
definition of that name. Five captures are no kinds of their own:
`@prefix` a node that belongs to the definition after it, `@signature` one that is also its signature; `@scope` a block that
qualifies names without being a definition, `@extension` the same where its functions are methods; `@local` a block whose
variables are nobody's business; `@declared` a function without body, `@promoted` a parameter that is a field.

Kinds: module, namespace, class, struct, interface, trait, enum, union, type; function, method (of any of the former but
modules and namespaces), constructor, macro, test; property (a member with accessors, where the language has those), field,
constant (also the members of an enum), variable; section (of a document). Variables are those of modules and types, never
locals; one that is all capitals is a constant.

Belongs here: from query matches to rows. Not here: the queries, comments (`docs`), Parquet (`stage`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tree_sitter
from numpy.typing import NDArray

from pipeline.source.text import line_of, line_starts
from pipeline.structure.docs import DOC_CHARACTERS, Attached, Leading, dedent
from pipeline.structure.names import Name, constructor_name, name_of, scope_name
from pipeline.structure.syntax import Nodes, grammar, words

QUERIES = Path(__file__).parent / "queries"
SIGNATURE_CHARACTERS = 512
QUALIFIED_CHARACTERS = 1024
_MATCH_LIMIT = 1 << 14

_RANKED = (
    "constructor test method function declared macro union enum interface trait struct class type namespace module section "
    "promoted constant property field variable extension scope local"
).split()
RANK = {kind: rank for rank, kind in enumerate(_RANKED)}
"""Of several matches for one name, the first in this order is taken."""

_CLASS_LIKE = frozenset({"class", "struct", "interface", "trait", "enum", "union", "extension"})
_FUNCTION_LIKE = frozenset({"function", "method", "constructor", "macro", "test", "local"})
_DATA = frozenset({"variable", "constant", "field", "property", "declared"})
_NAMELESS = frozenset({"local", "scope", "extension"})

_WRAPPERS = frozenset(
    "decorated_definition export_statement template_declaration ambient_declaration linkage_specification declaration_command "
    "lexical_declaration variable_declaration type_declaration const_declaration var_declaration "
    "enum_case_definitions expression_statement".split()
)
"""Types of nodes that belong to the one definition in them: decorators, `export`, `template <…>`, `const`."""
_COMMENTS = frozenset("comment line_comment block_comment multiline_comment doc_comment haddock".split())
_ANNOTATIONS = frozenset("attribute_list annotation marker_annotation attribute decorator attribute_group".split())
_INHERITS = re.compile(r"; inherits: (\w+)\n")
_TAIL = re.compile(r"(?:\s|=>|->|[{:=|;])+$")
_ELIXIR_TAIL = re.compile(r",?\s*\bdo:?$")


def query_text(lang: str) -> str | None:
    """The query of a language, with what it inherits; None where there is none."""
    path = QUERIES / f"{lang}.scm"
    if not path.is_file():
        return None
    text = path.read_text("utf-8")
    inherits = _INHERITS.match(text)
    return (query_text(inherits[1]) or "") + text if inherits else text


@cache
def _query(lang: str) -> tree_sitter.Query | None:
    language, text = grammar(lang), query_text(lang)
    return tree_sitter.Query(language, text) if language is not None and text is not None else None


@cache
def _kinds(lang: str, names: frozenset[str]) -> NDArray[np.bool_]:
    return words(lang).kinds_of(names)


def _predicate(content: bytes) -> tree_sitter.QueryPredicate:
    """`#among?` and `#not-among?`: whether a capture is one of some words.

    The predicates that tree-sitter's binding brings along read `node.text`, which crashes on trees that were read through a
    callback.
    """

    def holds(
        predicate: str, arguments: list[tuple[str, Any]], _pattern: int, captures: dict[str, list[tree_sitter.Node]]
    ) -> bool:
        (capture, _), *allowed = arguments
        node = captures[capture][0]
        text = content[node.start_byte : node.end_byte].decode("utf-8", "replace")
        return any(text == word for word, _ in allowed) == (predicate == "among?")

    return holds


@dataclass(slots=True)
class Columns:
    """The columns of `Definitions` without the uri, as lists of equal length."""

    name: list[str] = field(default_factory=list)
    qualified_name: list[str] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    doc: list[str] = field(default_factory=list)
    start_byte: list[int] = field(default_factory=list)
    end_byte: list[int] = field(default_factory=list)
    start_line: list[int] = field(default_factory=list)
    end_line: list[int] = field(default_factory=list)
    name_start_byte: list[int] = field(default_factory=list)
    node_id: list[int] = field(default_factory=list)
    parent: list[int | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.name)

    def extend(self, other: Columns) -> None:
        """Append the rows of `other`."""
        for column in fields(self):
            getattr(self, column.name).extend(getattr(other, column.name))


@dataclass(slots=True)
class _Found:
    """A definition or a scope on its way to becoming a row."""

    kind: str
    node: Any
    name: Name
    body: Any = None
    node_id: int = -1
    outer: int = -1
    """The id of its outermost wrapper."""
    start: int = 0
    end: int = 0
    qualified: str = ""
    parent: int | None = None
    docstring: Any = None
    last_part: str = ""


def definitions(content: bytes, tree: tree_sitter.Tree, nodes: Nodes, lang: str) -> Columns:
    """The definitions of one file, sorted by (start_byte, node_id). `nodes` is `walk(tree)`; no query, no rows."""
    query = _query(lang)
    if query is None or not len(nodes):
        return Columns()
    cursor = tree_sitter.QueryCursor(query, match_limit=_MATCH_LIMIT)
    found, prefixes = _collect(cursor.matches(tree.root_node, _predicate(content)), content)
    if not found:
        return Columns()
    file = _File(content, nodes, lang, prefixes)
    return _rows(file, _nested(file.locate(found), lang))


def _collect(matches: Sequence[tuple[int, dict[str, list[Any]]]], content: bytes) -> tuple[list[_Found], list[Attached]]:
    """The best match for each name, and what is attached to definitions."""
    best: dict[int, _Found] = {}
    docs: dict[int, Any] = {}
    blocks: list[_Found] = []
    prefixes: dict[int, Attached] = {}
    for _, captures in matches:
        names = captures.get("name")
        kind = next((capture for capture in captures if capture in RANK), None)
        if kind is None or names is None:
            if kind == "local":
                blocks.append(_Found(kind, captures[kind][0], Name("", 0)))
            elif "prefix" in captures:
                item = _prefix(captures)
                prefixes[item.start] = item if item.doc or item.start not in prefixes else prefixes[item.start]
            elif names is not None and "doc" in captures:
                docs[names[0].start_byte] = captures["doc"][0]
            continue
        if kind in ("scope", "extension"):
            blocks.append(_Found(kind, captures[kind][0], Name(scope_name(content, names[0]), names[0].start_byte)))
            continue
        receiver = captures.get("receiver")
        name = name_of(content, names[0], receiver[0] if receiver else None)
        if name is None:
            continue
        body = captures.get("body")
        new = _Found(kind, captures[kind][0], name, body[0] if body else None)
        old = best.get(name.start)
        if old is None or (RANK[kind], new.body is None) < (RANK[old.kind], old.body is None):
            best[name.start] = new
    for start, node in docs.items():
        if start in best:
            best[start].docstring = node
    return [*best.values(), *blocks], sorted(prefixes.values(), key=lambda item: item.end)


def _prefix(captures: dict[str, list[Any]]) -> Attached:
    node, doc = captures["prefix"][0], captures.get("doc")
    span = _literal_span(doc[0]) if doc else None
    return Attached(node.start_byte, node.end_byte, is_comment=False, doc=span, is_signature="signature" in captures)


def _literal_span(node: Any) -> tuple[int, int]:
    """The bytes between the quotes of a string node."""
    opening, closing = node.child_by_field_name("quoted_start"), node.child_by_field_name("quoted_end")
    if opening is None and node.child_count > 1:
        opening, closing = node.child(0), node.child(node.child_count - 1)
    if opening is None or closing is None:
        return node.start_byte, node.end_byte
    return opening.end_byte, closing.start_byte


class _File:
    """One file with what is looked up in it: node ids, wrappers, comments, annotations."""

    def __init__(self, content: bytes, nodes: Nodes, lang: str, prefixes: list[Attached]) -> None:
        self.content, self.nodes, self.lang = content, nodes, lang
        self._types = words(lang).type_ids(nodes.kind)
        comments = self._of(_COMMENTS)
        self._comment_starts = [start for start, _ in comments]
        self._comments = comments
        self._skipped = dict([*comments, *self._of(_ANNOTATIONS)])
        attached = [Attached(start, end, is_comment=True) for start, end in comments]
        self.leading = Leading(content, sorted([*attached, *prefixes], key=lambda item: item.end))

    def _of(self, names: frozenset[str]) -> list[tuple[int, int]]:
        rows = np.flatnonzero(_kinds(self.lang, names)[self._types])
        return list(zip(self.nodes.start[rows].tolist(), self.nodes.end[rows].tolist(), strict=True))

    def locate(self, found: list[_Found]) -> list[_Found]:
        """Fill in node ids and spans; the result is in pre-order."""
        nodes = self.nodes
        starts = np.fromiter((item.node.start_byte for item in found), np.int32, len(found))
        ends = np.fromiter((item.node.end_byte for item in found), np.int32, len(found))
        kinds = np.fromiter((item.node.kind_id for item in found), np.uint16, len(found))
        # Start bytes never fall in pre-order; the nodes that begin together follow each other, the outermost first.
        ids = np.searchsorted(nodes.start, starts, side="left")
        last = len(nodes) - 1
        while True:
            other = (nodes.end[ids] != ends) | (nodes.kind[ids] != kinds)
            if not (other & (ids < last)).any():
                break
            ids = np.minimum(ids + other, last)
        outer = self._climb(ids)
        spans = zip(ids.tolist(), outer.tolist(), nodes.start[outer].tolist(), nodes.end[outer].tolist(), strict=True)
        for item, (node_id, wrapper, start, end) in zip(found, spans, strict=True):
            item.node_id, item.outer, item.start, item.end = node_id, wrapper, start, end
        located = [item for item, lost in zip(found, other.tolist(), strict=True) if not lost]
        return sorted(located, key=lambda item: (item.node_id, item.name.start))

    def _climb(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The outermost wrapper of each node, or itself where a wrapper holds several."""
        is_wrapper = _kinds(self.lang, _WRAPPERS)[self._types]
        outer = ids.copy()
        for _ in range(8):
            above = self.nodes.parent[outer]
            climbs = (above >= 0) & is_wrapper[above]
            if not climbs.any():
                break
            outer = np.where(climbs, above, outer)
        _, distinct = np.unique(ids, return_index=True)
        wrappers, held = np.unique(outer[distinct], return_counts=True)
        shared = np.isin(outer, wrappers[held > 1])
        return np.where(shared, ids, outer)

    def signature(self, item: _Found, attached: tuple[int, int] | None) -> str:
        """The header of a definition on one line: attributes, comments and the body left out."""
        if attached is not None:
            return self._one_line(*attached)
        if item.kind == "section":
            return item.name.text
        start = item.start
        while (after := self._skipped.get(start)) is not None and after > start:
            start = after
            while start < item.node.end_byte and self.content[start] in b" \t\r\n":
                start += 1
        body = item.body or item.node.child_by_field_name("body")
        end = item.node.end_byte
        if body is None or not start < body.start_byte <= end:
            return self._one_line(start, end).rstrip("; ,")
        header = _TAIL.sub("", self._one_line(start, body.start_byte))
        return _ELIXIR_TAIL.sub("", header) if self.lang == "elixir" else header

    def _one_line(self, start: int, end: int) -> str:
        end = min(end, start + 8 * SIGNATURE_CHARACTERS)
        pieces, at = [], start
        for index in range(bisect_left(self._comment_starts, start), len(self._comments)):
            comment_start, comment_end = self._comments[index]
            if comment_start >= end:
                break
            pieces.append(self.content[at:comment_start])
            at = max(at, comment_end)
        pieces.append(self.content[at:end])
        return " ".join(b" ".join(pieces).decode("utf-8", "replace").split())[:SIGNATURE_CHARACTERS]


def _nested(found: list[_Found], lang: str) -> list[_Found]:
    """Definitions in pre-order with kinds, parents and qualified names settled by what they stand in; locals are gone."""
    above: list[_Found] = []
    kept: list[_Found] = []
    latest: dict[tuple[int | None, str], _Found] = {}
    for item in found:
        node_end = item.node.end_byte
        while above and (above[-1].node.end_byte < node_end or above[-1].node.end_byte <= item.node.start_byte):
            above.pop()
        holders = [holder for holder in reversed(above[-8:]) if holder.node_id != item.node_id]
        holder = holders[0] if holders else None
        if item.kind == "promoted":
            item.kind = "field"
            holder = next((other for other in reversed(above) if other.kind in _CLASS_LIKE), holder)
        elif item.kind in _DATA and holder is not None and holder.kind in _FUNCTION_LIKE:
            continue
        _settle(item, holder, lang)
        if lang == "haskell" and item.kind in ("function", "method"):
            first = latest.get((item.parent, item.qualified))
            if first is not None and first.end <= item.start:
                # Another equation of the same function: what is inside of it belongs to the one definition.
                first.end = item.end
                item.node_id = first.node_id
                above.append(item)
                continue
            latest[item.parent, item.qualified] = item
        above.append(item)
        if item.kind not in _NAMELESS:
            kept.append(item)
    return kept


def _settle(item: _Found, holder: _Found | None, lang: str) -> None:
    """The kind, parent and qualified name of a definition inside of `holder`."""
    if holder is not None:
        item.parent = holder.parent if holder.kind in _NAMELESS else holder.node_id
    inside = holder.qualified if holder is not None else ""
    if item.kind == "local":
        item.qualified, item.last_part = inside, ""
        return
    parts = [part for part in (inside, *item.name.owners, item.name.qualified) if part]
    item.qualified = ".".join(parts)[-QUALIFIED_CHARACTERS:]
    item.last_part = item.name.text
    in_class = holder is not None and holder.kind in _CLASS_LIKE
    owner = item.name.owners[-1] if item.name.owners else holder.last_part if in_class and holder is not None else ""
    if item.kind in ("function", "declared"):
        item.kind = "method" if in_class or item.name.is_member else "function"
    if item.kind == "method" and owner and item.name.text == constructor_name(lang, owner):
        item.kind = "constructor"
    elif item.kind == "variable" and in_class:
        item.kind = "field"
    elif (
        item.kind in ("field", "property")
        and not in_class
        and (holder is None or holder.kind not in ("module", "type", "constant"))
    ):
        item.kind = "variable"
    if item.kind == "variable" and item.name.text.isupper():
        item.kind = "constant"


def _rows(file: _File, found: list[_Found]) -> Columns:
    columns = Columns()
    around = [file.leading.before(item.start) for item in found]
    order = sorted(range(len(found)), key=lambda row: (around[row].start, found[row].node_id, found[row].name.start))
    for row in order:
        item, before = found[row], around[row]
        columns.name.append(item.name.text)
        columns.qualified_name.append(item.qualified)
        columns.kind.append(item.kind)
        columns.signature.append(file.signature(item, before.signature))
        columns.doc.append(_docstring(file.content, item.docstring) or before.doc)
        columns.start_byte.append(before.start)
        columns.end_byte.append(item.end)
        columns.name_start_byte.append(item.name.start)
        columns.node_id.append(item.node_id)
        columns.parent.append(item.parent)
    starts = line_starts(file.content)
    first, last = np.array(columns.start_byte, np.int64), np.array(columns.end_byte, np.int64)
    columns.start_line = line_of(starts, first).tolist()
    columns.end_line = line_of(starts, np.maximum(first, last - 1)).tolist()
    return columns


def _docstring(content: bytes, node: Any) -> str:
    if node is None:
        return ""
    start, end = _literal_span(node)
    text = content[start : min(end, start + 8 * DOC_CHARACTERS)].decode("utf-8", "replace")
    return dedent(text)[:DOC_CHARACTERS]
