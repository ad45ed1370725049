"""cAST: chunks along the syntax tree.

The method is that of Zhang et al. 2025, "cAST: Enhancing Code Retrieval-Augmented Generation with Structural Chunking via AST":
split large nodes, merge small siblings, measure by non-whitespace characters (here bytes). It works on columns: the level of a
line is the depth of the outermost node that begins the line, so splitting at the lowest level is descending into the tree,
and only what is over the budget is descended into.

What is added to the paper:

- chunks begin at line starts and are gapless;
- comments, attributes and decorators directly above something stay with it, and a run of them stays together;
- a definition that fits the budget is whole (unless it lies more than `MAX_DEPTH` nodes deep);
- a header (`class A:` with its docstring) begins the chunk of what follows it;
- closing tokens are not places to cut, while there are better ones;
- leaves over the budget (long strings, comments) are cut by lines, at blank ones first.

Belongs here: levels from a syntax tree. Not here: splitting and merging by levels (`packing`), files without a tree (`blocks`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.chunks.packing import LEAF, Layout, layout, pack

MAX_DEPTH = 100
"""Nodes deeper than this count as this deep, which bounds the work on nested brackets."""
_TOKEN = LEAF - 8
"""Level of a line that an unnamed token opens: a closing brace, an operator."""
_AFTER_BLANK = LEAF - 2
_IN_RUN = LEAF - 4
"""Level inside a run of comments or attributes."""


@dataclass(frozen=True, slots=True)
class SyntaxNodes:
    """Node columns of one file in pre-order, each [nodes]: int32 bytes, depth, `named`, and `leads`: whether a node belongs
    to what follows it (a comment, an attribute, a decorator)."""

    start: NDArray[np.int32]
    end: NDArray[np.int32]
    depth: NDArray[np.int16]
    named: NDArray[np.bool_]
    leads: NDArray[np.bool_]


def is_leading(node_type: str) -> bool:
    """Whether nodes of a type belong to what follows them."""
    return "comment" in node_type or node_type in _LEADING


# Haskell has `haddock` and `signature` (the type line) above a function, TypeScript `function_signature` (overloads).
_LEADING = frozenset(
    {"haddock", "attribute_item", "attribute_list", "decorator", "annotation", "signature", "function_signature"}
)


def cut(
    content: bytes, nodes: SyntaxNodes, definition_start: NDArray[np.int32], definition_end: NDArray[np.int32], budget: int
) -> NDArray[np.int64]:
    """Boundaries of chunks: int64, ascending, first 0, last the file's length.

    `definition_start` and `definition_end`: int32 [definitions], their bytes. `budget`: the most non-whitespace bytes of a
    chunk. Any columns give a gapless cut within the budget, also such as no parser would make.
    """
    lines = layout(content)
    return pack_tree(lines, nodes, definition_start, definition_end, budget)


def pack_tree(
    lines: Layout, nodes: SyntaxNodes, definition_start: NDArray[np.int32], definition_end: NDArray[np.int32], budget: int
) -> NDArray[np.int64]:
    """`cut` of a file that has been weighed."""
    levels = tree_levels(lines, nodes, definition_start, definition_end)
    return pack(lines, levels, budget, enclosing=_enclosing(lines, definition_start, definition_end))


def tree_levels(
    lines: Layout, nodes: SyntaxNodes, definition_start: NDArray[np.int32], definition_end: NDArray[np.int32]
) -> NDArray[np.int32]:
    """int32 [lines]: twice the depth of the outermost node that begins each line; one more for what a comment leads."""
    levels = np.full(len(lines.starts), LEAF, np.int32)
    if not len(nodes.start):
        return levels
    levels[1:][lines.blank[:-1]] = _AFTER_BLANK
    tokens = np.flatnonzero(~nodes.named)
    opened, _ = _first_nodes(lines, nodes, tokens)
    levels[opened] = _TOKEN
    opened, first = _first_nodes(lines, nodes, np.flatnonzero(nodes.named))
    levels[opened] = _level(nodes.depth[first])
    own = _definition_levels(nodes, definition_start, definition_end)
    if len(own):
        # A definition may begin behind a token on its line (`, function () {`): cut there rather than inside it.
        np.minimum.at(levels, lines.line_at(_inside(lines, definition_start)), own)
    _join_leading(levels, lines, nodes, opened, first)
    if len(own):
        # Below it is a place to cut too, so that what closes its surroundings cannot break it.
        below = lines.next_solid(lines.line_at(_inside(lines, definition_end.astype(np.int64) - 1)) + 1)
        known = below < len(levels)
        np.minimum.at(levels, below[known], own[known] | 1)
    return levels


def _level(depth: NDArray[np.int16]) -> NDArray[np.int32]:
    return np.clip(depth, 0, MAX_DEPTH).astype(np.int32) * 2


def _first_nodes(lines: Layout, nodes: SyntaxNodes, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lines that one of the chosen nodes begins, and the outermost such node of each."""
    if not len(chosen):
        return chosen, chosen
    # Starts ascend in pre-order; a tree that breaks this must not break the search.
    start = np.maximum.accumulate(nodes.start[chosen])
    place = np.minimum(np.searchsorted(start, lines.solid), len(start) - 1)
    opened = np.flatnonzero((start[place] == lines.solid) & ~lines.blank)
    return opened, chosen[place[opened]]


def _definition_levels(
    nodes: SyntaxNodes, definition_start: NDArray[np.int32], definition_end: NDArray[np.int32]
) -> NDArray[np.int32]:
    """int32 [definitions]: the level of each definition's own node, which others that begin at the same byte may enclose."""
    start = np.maximum.accumulate(nodes.start)
    place = np.minimum(np.searchsorted(start, definition_start), len(start) - 1)
    for _ in range(MAX_DEPTH):
        deeper = np.minimum(place + 1, len(start) - 1)
        encloses = (nodes.end[place] > definition_end) & (start[deeper] == definition_start) & (deeper > place)
        if not encloses.any():
            break
        place = np.where(encloses, deeper, place)
    return _level(nodes.depth[place])


def _join_leading(
    levels: NDArray[np.int32], lines: Layout, nodes: SyntaxNodes, opened: NDArray[np.int64], first: NDArray[np.int64]
) -> None:
    """Put comments, attributes and decorators together with what stands directly below them, at the same column."""
    if len(opened) < 2:
        return
    column = lines.solid[opened] - lines.starts[opened]
    last = np.maximum(nodes.end[first].astype(np.int64) - 1, nodes.start[first])
    data = np.frombuffer(lines.content, np.uint8)
    # Elixir's `@doc` is an expression like any other; a style sheet's `@media { }` and `@import;` lead to nothing.
    marked = (data[lines.solid[opened]] == ord("@")) & ~np.isin(data[_inside(lines, last)], (ord("}"), ord(";")))
    leads = nodes.leads[first] | marked
    touches = lines.line_at(_inside(lines, last))[:-1] + 1 == opened[1:]
    joined = np.flatnonzero(leads[:-1] & touches & (column[:-1] == column[1:])) + 1
    # From below, so that the first line of a run gets the rank of what the run leads to.
    for place in reversed(joined.tolist()):
        above, below = int(opened[place - 1]), int(opened[place])
        rank = int(levels[below]) & ~1
        if levels[above] > rank:
            levels[above] = rank
        levels[below] = rank + 1
    inside = joined[nodes.leads[first[joined]]]
    levels[opened[inside]] = _IN_RUN


def _enclosing(lines: Layout, definition_start: NDArray[np.int32], definition_end: NDArray[np.int32]) -> NDArray[np.int32]:
    """int32 [lines]: how many definitions began above each line and reach it."""
    changes = np.zeros(len(lines.starts) + 2, np.int32)
    if len(definition_start):
        first = lines.line_at(_inside(lines, definition_start))
        last = np.maximum(lines.line_at(_inside(lines, definition_end.astype(np.int64) - 1)), first)
        np.add.at(changes, first + 1, 1)
        np.add.at(changes, last + 1, -1)
    return np.cumsum(changes, dtype=np.int32)[:-2]


def _inside(lines: Layout, offsets: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(offsets.astype(np.int64), 0, len(lines.content) - 1)
