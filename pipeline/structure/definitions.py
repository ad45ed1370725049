"""Definitions: what a file names, by one tree-sitter query a language, put together the same way for all of them.

A query (`queries/<lang>.scm`) captures the defining node under its kind, its name as `@name`, and where needed `@body` (the
signature ends there), `@receiver` (what the name belongs to), `@doc`. A pattern with only `@name` and `@doc` documents the
definition of that name. Some captures are no kinds of their own:
`@prefix` a node that belongs to the definition after it, `@signature` one that is also its signature; `@scope` a block that
qualifies names without being a definition, `@extension` the same where its functions are methods; `@local` a block whose
variables are nobody's business; `@declared` a function without body, `@promoted` a parameter that is a field.

Belongs here: from query matches to rows. Not here: the queries, comments (`docs`), Parquet (`stage`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tree_sitter

from pipeline.source.text import line_of, line_starts
from pipeline.structure.docs import DOC_CHARACTERS, Attached, dedent
from pipeline.structure.kinds import CLASS_LIKE, DATA, FIELD_HOLDERS, FUNCTION_LIKE, NAMELESS, PROVISIONAL, RANK
from pipeline.structure.layout import Layout, longest_unnamed_run
from pipeline.structure.names import Name, constructor_name, name_of, scope_name
from pipeline.structure.syntax import Nodes, grammar

QUERIES = Path(__file__).parent / "queries"
QUALIFIED_CHARACTERS = 1024
_MATCH_LIMIT = 1 << 14
_MAX_DEPTH = 4096
_MAX_UNNAMED_RUN = 4096
"""Queries take quadratic time in depth and in runs of punctuation; such files are no code."""
_INHERITS = re.compile(r"; inherits: (\w+)\n")


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


def _predicate(content: bytes) -> tree_sitter.QueryPredicate:
    """`#among?` and `#not-among?`: whether a capture is one of some words.

    The predicates that tree-sitter's binding brings along read `node.text`, which crashes on trees that were read through a
    callback.
    """

    def holds(
        predicate: str,
        args: list[tuple[str, Literal["capture", "string"]]],
        pattern_index: int,
        captures: dict[str, list[tree_sitter.Node]],
    ) -> bool:
        (capture, _), *allowed = args
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
    start: int = 0
    end: int = 0
    qualified: str = ""
    parent: int | None = None
    docstring: Any = None
    last_part: str = ""


def definitions(content: bytes, tree: tree_sitter.Tree, nodes: Nodes, lang: str) -> Columns:
    """The definitions of one file, sorted by (start_byte, node_id). `nodes` is `walk(tree)`; no query, no rows, and none for
    files that are mostly nesting or a run of punctuation."""
    query = _query(lang)
    if query is None or nodes.depth.max() > _MAX_DEPTH or longest_unnamed_run(nodes, lang) > _MAX_UNNAMED_RUN:
        return Columns()
    cursor = tree_sitter.QueryCursor(query, match_limit=_MATCH_LIMIT)
    found, prefixes = _collect(cursor.matches(tree.root_node, _predicate(content)), content)
    if not found:
        return Columns()
    file = Layout(content, nodes, lang, prefixes)
    return _rows(file, _nested(_locate(file, found), lang))


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


def _locate(file: Layout, found: list[_Found]) -> list[_Found]:
    """Fill in node ids and spans; the result is in pre-order."""
    ids = file.node_ids(
        np.array([item.node.start_byte for item in found], np.int32),
        np.array([item.node.end_byte for item in found], np.int32),
        np.array([item.node.kind_id for item in found], np.uint16),
    )
    found = [item for item, node_id in zip(found, ids.tolist(), strict=True) if node_id >= 0]
    ids = ids[ids >= 0]
    for item, node_id, start, end in zip(found, ids.tolist(), *file.spans(ids), strict=True):
        item.node_id, item.start, item.end = node_id, start, end
    return sorted(found, key=lambda item: (item.node_id, item.name.start))


def _nested(found: list[_Found], lang: str) -> list[_Found]:
    """Definitions in pre-order with kinds, parents and qualified names settled by what they stand in; locals are gone."""
    above: list[_Found] = []
    kept: list[_Found] = []
    latest: dict[int, _Found] = {}
    for item in found:
        node_end = item.node.end_byte
        while above and (above[-1].node.end_byte < node_end or above[-1].node.end_byte <= item.node.start_byte):
            above.pop()
        if above and above[-1].node_id == item.node_id:
            above.pop()  # one node may define several names: `int a, b;`
        holder = above[-1] if above else None
        if item.kind == "promoted":
            item.kind = "field"
            holder = next((other for other in reversed(above) if other.kind in CLASS_LIKE), holder)
        elif item.kind in DATA and holder is not None and holder.kind in FUNCTION_LIKE:
            continue
        _settle(item, holder, lang)
        if lang == "haskell" and item.kind in ("function", "method"):
            within = holder.node_id if holder is not None else -1
            first = latest.get(within)
            if first is not None and first.qualified == item.qualified and first.end <= item.start:
                # Another equation of the same function: what is inside of it belongs to the one definition.
                first.end = item.end
                item.node_id = first.node_id
                above.append(item)
                continue
            latest[within] = item
        above.append(item)
        if item.kind not in NAMELESS:
            kept.append(item)
    return kept


def _settle(item: _Found, holder: _Found | None, lang: str) -> None:
    """The kind, parent and qualified name of a definition inside of `holder`."""
    if holder is not None:
        item.parent = holder.parent if holder.kind in NAMELESS else holder.node_id
    inside = holder.qualified if holder is not None else ""
    if item.kind == "local":
        item.qualified, item.last_part = inside, ""
        return
    parts = [part for part in (inside, *item.name.owners, item.name.qualified) if part]
    item.qualified = ".".join(parts)[-QUALIFIED_CHARACTERS:]
    item.last_part = item.name.text
    in_class = holder is not None and holder.kind in CLASS_LIKE
    owner = item.name.owners[-1] if item.name.owners else holder.last_part if in_class and holder is not None else ""
    item.kind = PROVISIONAL.get(item.kind, item.kind)
    if item.kind == "function":
        item.kind = "method" if in_class or item.name.is_member else "function"
    if item.kind == "method" and owner and item.name.text == constructor_name(lang, owner):
        item.kind = "constructor"
    elif item.kind == "variable" and in_class:
        item.kind = "field"
    elif item.kind in ("field", "property") and not in_class and (holder is None or holder.kind not in FIELD_HOLDERS):
        item.kind = "variable"
    if item.kind == "variable" and item.name.text.isupper():
        item.kind = "constant"


def _rows(file: Layout, found: list[_Found]) -> Columns:
    columns = Columns()
    around = [file.leading.before(item.start) for item in found]
    order = sorted(range(len(found)), key=lambda row: (around[row].start, found[row].node_id, found[row].name.start))
    for row in order:
        item, before = found[row], around[row]
        columns.name.append(item.name.text)
        columns.qualified_name.append(item.qualified)
        columns.kind.append(item.kind)
        columns.signature.append(_signature(file, item, before.signature))
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


def _signature(file: Layout, item: _Found, attached: tuple[int, int] | None) -> str:
    if item.kind == "section":
        return item.name.text
    if attached is not None:
        return file.one_line(*attached)
    return file.signature(item.start, item.node, item.body)


def _docstring(content: bytes, node: Any) -> str:
    if node is None:
        return ""
    start, end = _literal_span(node)
    text = content[start : min(end, start + 8 * DOC_CHARACTERS)].decode("utf-8", "replace")
    return dedent(text)[:DOC_CHARACTERS]
