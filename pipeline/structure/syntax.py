"""Syntax trees: bytes in, a tree out, and the tree as columns.

Belongs here: parsing within bounds, and walking. Not here: what the nodes mean (`definitions`), or tables (`stage`).
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tree_sitter
import tree_sitter_language_pack
from numpy.typing import NDArray

from pipeline.source.languages import LANGUAGES

ERROR_KIND = 0xFFFF
"""The kind id of ERROR nodes, in every grammar."""
_ERROR_TYPE = "ERROR"
_MAX_DEPTH = np.iinfo(np.int16).max

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
"""How `surrogateescape` shows bytes that are not UTF-8."""
_CHUNK = 4096
# Ordinary code takes 1 to 5 reads a chunk, 0.005 to 0.1 steps (of 100 parser operations) a byte. Garbage can make scanners
# read the rest of the file at every byte, and make the parser carry many deep stacks, where a step takes up to a millisecond.
# The bounds count work, not time, so that the same bytes always have the same tree, or none.
_READS_PER_CHUNK = 48
_SPARE_READS = 2_000
_STEPS_PER_BYTE = 1 / 6
_FAILED_STEPS_PER_BYTE = 1 / 48
_SPARE_STEPS = 1_000


@cache
def grammar(lang: str) -> tree_sitter.Language | None:
    """The grammar of a language, or None where there is none."""
    known = LANGUAGES.get(lang)
    if known is None or known.grammar is None:
        return None
    return tree_sitter_language_pack.get_language(known.grammar)  # type: ignore[arg-type]  # a name from our own table


@cache
def _parser(lang: str) -> tree_sitter.Parser:
    language = grammar(lang)
    assert language is not None
    return tree_sitter.Parser(language)


def parse(content: bytes, lang: str) -> tree_sitter.Tree | None:
    """The syntax tree of a file; None where the language has no grammar, or the file takes far more work than code does.

    Any bytes may come; each NUL is read as a space, and each byte that is not UTF-8 as a letter. Not for use by several threads
    at once.
    """
    if grammar(lang) is None:
        return None
    view = memoryview(_readable(content))
    reads_left = _SPARE_READS + len(view) // _CHUNK * _READS_PER_CHUNK
    steps = failed = 0

    def read(offset: int, _point: object) -> memoryview | bytes:
        nonlocal reads_left
        reads_left -= 1
        # An early end is the one thing that every scanner respects; the progress callback then stops the parser.
        return view[offset : _chunk_end(view, offset)] if reads_left > 0 else b""

    def is_spent(offset: int, in_recovery: bool) -> bool:
        nonlocal steps, failed
        steps += 1
        failed += in_recovery
        return (
            reads_left <= 0
            or steps > _SPARE_STEPS + offset * _STEPS_PER_BYTE
            or failed > _SPARE_STEPS + offset * _FAILED_STEPS_PER_BYTE
        )

    parser = _parser(lang)
    try:
        tree = parser.parse(read, progress_callback=is_spent)
    except ValueError:
        parser.reset()
        return None
    return tree if reads_left > 0 else None


def _readable(content: bytes) -> bytes:
    """The same number of bytes without those on which scanners loop (NUL) or the lexer crashes (what is not UTF-8)."""
    content = content.replace(b"\0", b" ")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return _NOT_UTF8.sub("_", content.decode("utf-8", "surrogateescape")).encode("utf-8")
    return content


def _chunk_end(view: memoryview, offset: int) -> int:
    """Where the chunk from `offset` ends: never inside of a character, which would make the lexer ask for its other half."""
    end = offset + _CHUNK
    while end < len(view) and view[end] & 0xC0 == 0x80:
        end += 1
    return end


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes of one tree in pre-order, as arrays [nodes]; a node's id is its row."""

    kind: NDArray[np.uint16]
    """The grammar's kind id; `Words.types` has the names."""
    field: NDArray[np.uint16]
    """The field id in the parent, 0 for none; `Words.fields` has the names."""
    parent: NDArray[np.int32]
    depth: NDArray[np.int16]
    """0 for the root; stays at the largest int16 below it."""
    start: NDArray[np.int32]
    end: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True, slots=True)
class Words:
    """A grammar's names. Kind ids index `types` and `named`, which end with the entry for ERROR; field ids index `fields`."""

    types: tuple[str, ...]
    named: NDArray[np.bool_]
    fields: tuple[str, ...]

    def type_ids(self, kind: NDArray[np.uint16]) -> NDArray[np.int64]:
        """Kind ids as indices into `types` and `named`."""
        return np.minimum(kind, len(self.types) - 1).astype(np.int64)

    def kinds_of(self, names: frozenset[str]) -> NDArray[np.bool_]:
        """bool [len(types)]: which named types have one of these names."""
        return np.fromiter((name in names for name in self.types), np.bool_, len(self.types)) & self.named


@cache
def words(lang: str) -> Words:
    """The names of a language that has a grammar."""
    language = grammar(lang)
    assert language is not None
    kinds = range(language.node_kind_count)
    return Words(
        types=(*(language.node_kind_for_id(kind) or "" for kind in kinds), _ERROR_TYPE),
        named=np.array([*(language.node_kind_is_named(kind) for kind in kinds), True], np.bool_),
        fields=("", *(language.field_name_for_id(number) or "" for number in range(1, language.field_count + 1))),
    )


def walk(tree: tree_sitter.Tree) -> Nodes:
    """All nodes of a tree in pre-order, without recursion."""
    kind, field, parent, depth = array("H"), array("H"), array("i"), array("i")
    start, end = array("i"), array("i")
    add_kind, add_field, add_parent, add_depth = kind.append, field.append, parent.append, depth.append
    add_start, add_end = start.append, end.append
    cursor = tree.walk()
    goto_first_child, goto_next_sibling, goto_parent = cursor.goto_first_child, cursor.goto_next_sibling, cursor.goto_parent
    above: list[int] = []
    current, level, count = -1, 0, 0
    while True:
        node: Any = cursor.node
        add_kind(node.kind_id)
        add_field(cursor.field_id or 0)
        add_parent(current)
        add_depth(level)
        add_start(node.start_byte)
        add_end(node.end_byte)
        if goto_first_child():
            above.append(current)
            current = count
            level += 1
        else:
            while not goto_next_sibling():
                if not goto_parent():
                    return Nodes(
                        kind=_column(kind, np.uint16),
                        field=_column(field, np.uint16),
                        parent=_column(parent, np.int32),
                        depth=np.minimum(_column(depth, np.int32), _MAX_DEPTH).astype(np.int16),
                        start=_column(start, np.int32),
                        end=_column(end, np.int32),
                    )
                current = above.pop()
                level -= 1
        count += 1


def _column(values: array[int], dtype: Any) -> NDArray[Any]:
    return np.frombuffer(values, dtype=dtype)
