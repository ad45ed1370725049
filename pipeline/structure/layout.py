"""Where definitions lie in their file: node ids, spans with wrappers, and signatures.

Belongs here: lookups in the columns and bytes of one file. Not here: matches and nesting (`definitions`), comments (`docs`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.structure.docs import Attached, Leading
from pipeline.structure.syntax import Nodes, words

SIGNATURE_CHARACTERS = 512
_MAX_WRAPPERS = 8
_LARGE_TREE = 10_000

_WRAPPERS = frozenset(
    {
        "ambient_declaration",
        "const_declaration",
        "declaration_command",
        "decorated_definition",
        "enum_case_definitions",
        "export_statement",
        "expression_statement",
        "lexical_declaration",
        "linkage_specification",
        "template_declaration",
        "type_declaration",
        "var_declaration",
        "variable_declaration",
    }
)
"""Types of nodes that belong to the one definition in them: decorators, `export`, `template <…>`, `const`."""
_COMMENTS = frozenset({"comment", "line_comment", "block_comment", "multiline_comment", "doc_comment", "haddock"})
_ANNOTATIONS = frozenset({"attribute_list", "annotation", "marker_annotation", "attribute", "decorator", "attribute_group"})
_TAIL = re.compile(r"(?:\s|=>|->|[{:=|;])+$")
_ELIXIR_TAIL = re.compile(r",?\s*\bdo:?$")


@cache
def _kinds(lang: str, names: frozenset[str]) -> NDArray[np.bool_]:
    return words(lang).kinds_of(names)


def longest_unnamed_run(nodes: Nodes, lang: str) -> int:
    """How many unnamed siblings follow each other at most; 0, unseen, for small trees."""
    if len(nodes) < _LARGE_TREE:
        return 0
    order = np.argsort(nodes.parent, kind="stable")
    named = words(lang).named[words(lang).type_ids(nodes.kind)][order]
    breaks = np.flatnonzero(np.concatenate(([True], named[1:] | (np.diff(nodes.parent[order]) != 0), [True])))
    return int(np.diff(breaks).max())


class Layout:
    """One file with what is looked up in it: comments, annotations, and its nodes."""

    def __init__(self, content: bytes, nodes: Nodes, lang: str, prefixes: Sequence[Attached]) -> None:
        self.content, self.nodes, self.lang = content, nodes, lang
        self._types = words(lang).type_ids(nodes.kind)
        self._comments = self._of(_COMMENTS)
        self._comment_starts = [start for start, _ in self._comments]
        self._skipped = dict([*self._comments, *self._of(_ANNOTATIONS)])
        attached = [Attached(start, end, is_comment=True) for start, end in self._comments]
        self.leading = Leading(content, sorted([*attached, *prefixes], key=lambda item: (item.end, -item.start)))

    def _of(self, names: frozenset[str]) -> list[tuple[int, int]]:
        rows = np.flatnonzero(_kinds(self.lang, names)[self._types])
        return list(zip(self.nodes.start[rows].tolist(), self.nodes.end[rows].tolist(), strict=True))

    def node_ids(self, starts: NDArray[np.int32], ends: NDArray[np.int32], kinds: NDArray[np.uint16]) -> NDArray[np.int64]:
        """The ids [n] of the nodes with these spans and kind ids; -1 where there is none."""
        nodes, last = self.nodes, len(self.nodes) - 1
        # Start bytes never fall in pre-order; the nodes that begin together follow each other, the outermost first.
        ids = np.minimum(np.searchsorted(nodes.start, starts, side="left"), last)
        while True:
            other = (nodes.end[ids] != ends) | (nodes.kind[ids] != kinds)
            if not (other & (ids < last)).any():
                return np.where(other, -1, ids)
            ids = np.minimum(ids + other, last)

    def spans(self, ids: NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Start and end bytes [n] of nodes with what wraps them; a wrapper of several definitions belongs to none."""
        is_wrapper = _kinds(self.lang, _WRAPPERS)[self._types]
        outer = ids.copy()
        for _ in range(_MAX_WRAPPERS):
            above = self.nodes.parent[outer]
            climbs = (above >= 0) & is_wrapper[above]
            if not climbs.any():
                break
            outer = np.where(climbs, above, outer)
        _, distinct = np.unique(ids, return_index=True)
        wrappers, held = np.unique(outer[distinct], return_counts=True)
        outer = np.where(np.isin(outer, wrappers[held > 1]), ids, outer)
        return self.nodes.start[outer].tolist(), self.nodes.end[outer].tolist()

    def signature(self, start: int, node: Any, body: Any) -> str:
        """The header of a definition on one line, from `start` to its body, without attributes and comments in it."""
        end = node.end_byte
        while (after := self._skipped.get(start)) is not None and start < after <= end:
            start = after
            while start < end and self.content[start] in b" \t\r\n":
                start += 1
        body = body or node.child_by_field_name("body")
        if body is None or not start < body.start_byte <= end:
            return self.one_line(start, end).rstrip("; ,")
        header = _TAIL.sub("", self.one_line(start, body.start_byte))
        return _ELIXIR_TAIL.sub("", header) if self.lang == "elixir" else header

    def one_line(self, start: int, end: int) -> str:
        """Text without comments and with whitespace collapsed, cut to the length of a signature."""
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
