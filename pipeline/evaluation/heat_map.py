"""The heat map of coverage: modules by what of them is indexed, in every index, found, and found by each channel; as SVG.

Written by hand, so that equal data give equal bytes. Orange grows with what is missing, blue with what a channel finds; both
are steps of lightness, which every eye and every printer tells apart, and the number stands in the cell.

Belongs here: the drawing. Not here: which modules are rows (`coverage_reading`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from pipeline.evaluation.coverage_reading import Module, percent, read_tree, share, worst_first
from pipeline.evaluation.document import CoverageDocument, read_coverage
from pipeline.search.channels.registry import CHANNELS

ROWS = 25
_LABEL, _NUMBER, _CELL, _ROW, _HEAD, _FOOT = 300, 76, 68, 20, 44, 46
_MOST_LABEL = 46
"""Characters."""
_LACK, _GIVES = (184, 74, 0), (0, 90, 160)
_PAPER, _INK = "#fff", "#1c1c1a"
_MEETING = 0.2
"""The luminance on which both inks stand out alike."""
_UNPRINTABLE = re.compile("[^\\x20-\\x7e\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What XML may not hold, and control characters."""

_Column = tuple[str, Callable[[Module], tuple[int, int]], bool]
"""Title, part and whole of a module, and whether it is a channel's."""


def heat_map(root: Path) -> str | None:
    """The map of an object or a version; None where nothing was there to be indexed."""
    tree, document = read_tree(root), read_coverage(root)
    top = tree.find("")
    if top is None or not top.counts["files"]:
        return None
    rows = [top, *worst_first(tree.cut(top, ROWS))]
    columns = _columns(document)
    width = _LABEL + _NUMBER + len(columns) * _CELL + 12
    height = _HEAD + len(rows) * _ROW + _FOOT
    marks = [*_head(columns), *_body(rows, columns), *_foot(document, _HEAD + len(rows) * _ROW)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'font-family="sans-serif" font-size="11"><title>Coverage by module, the worst first</title>'
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>{"".join(marks)}</svg>'
    )


def _columns(document: CoverageDocument) -> list[_Column]:
    """Files, definitions, and where any was asked for, what was found, and by which channels."""

    def counted(part: str, whole: str) -> Callable[[Module], tuple[int, int]]:
        return lambda module: (module.counts[part], module.counts[whole])

    def of_channel(name: str) -> Callable[[Module], tuple[int, int]]:
        return lambda module: (module.found_by.get(name, 0), module.counts["asked"])

    columns: list[_Column] = [
        ("files", counted("indexed_files", "files"), False),
        ("in indexes", counted("covered", "definitions"), False),
    ]
    if document.found.whole:
        columns.append(("found", counted("found", "asked"), False))
        names = [channel.name for channel in CHANNELS if channel.name in document.by_channel]
        columns += [(name, of_channel(name), True) for name in names]
    return columns


def _head(columns: Sequence[_Column]) -> Iterator[str]:
    yield _text(8, 16, "module, the worst first", "start", bold=True)
    yield _text(_LABEL + _NUMBER - 8, 16, "definitions", "end", bold=True)
    yield _text(_LABEL + _NUMBER - 8, 32, "asked for", "end", colour="#62625c")
    channels = [place for place, (_, _, is_channel) in enumerate(columns) if is_channel]
    if channels:
        middle = _LABEL + _NUMBER + (channels[0] + channels[-1] + 1) * _CELL / 2
        yield _text(middle, 16, "found by the channel alone", "middle", colour="#62625c")
    for place, (title, _, is_channel) in enumerate(columns):
        y = 32 if is_channel or not channels else 24
        yield _text(_LABEL + _NUMBER + (place + 0.5) * _CELL, y, title, "middle", bold=True)


def _body(rows: Sequence[Module], columns: Sequence[_Column]) -> Iterator[str]:
    for number, module in enumerate(rows):
        y = _HEAD + number * _ROW
        label = "the whole repository" if not number else module.label
        yield _text(8, y + 14, _shortened(label), "start", title=label, bold=not number)
        counts = module.counts
        yield _text(_LABEL + _NUMBER - 8, y + 14, f"{counts['definitions']:,} / {counts['asked']:,}", "end", colour="#62625c")
        for place, (title, of, is_channel) in enumerate(columns):
            part, whole = of(module)
            yield _cell(_LABEL + _NUMBER + place * _CELL, y, part, whole, f"{label}: {title}", is_channel=is_channel)
    yield f'<line x1="0" y1="{_HEAD + _ROW}" x2="100%" y2="{_HEAD + _ROW}" stroke="{_INK}"/>'


def _cell(x: float, y: float, part: int, whole: int, title: str, *, is_channel: bool) -> str:
    value = share(part, whole)
    if value is None:
        return _text(x + _CELL / 2, y + 14, "–", "middle", colour="#62625c", title=f"{title}: none")
    depth = value * 0.8 if is_channel else 1 - value
    colour = _mixed(_GIVES if is_channel else _LACK, depth)
    box = f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{_CELL - 2}" height="{_ROW - 2}" fill="{colour}"/>'
    return box + _text(
        x + _CELL / 2, y + 14, percent(part, whole), "middle", colour=_ink_on(colour), title=f"{title}: {part:,} of {whole:,}"
    )


def _foot(document: CoverageDocument, y: float) -> Iterator[str]:
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(document.skipped.items(), key=lambda one: -one[1]))
    asked = f"found: within the first {document.k} for the definition’s own query" if document.found.whole else "not asked"
    yield _text(
        8, y + 18, f"files: indexed of all; in indexes: definitions inside of chunks that every index has; {asked}", "start"
    )
    yield _text(8, y + 34, f"not indexed: {skipped or 'none'}", "start", colour="#62625c")


def _mixed(colour: tuple[int, int, int], depth: float) -> str:
    """Paper with so much of a colour."""
    return "#" + "".join(f"{round(255 + (part - 255) * depth):02x}" for part in colour)


def _ink_on(colour: str) -> str:
    """Black or white, whichever stands out more (by relative luminance, as WCAG 2 has it)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return _INK if luminance > _MEETING else _PAPER


def _shortened(label: str) -> str:
    """A long path without its middle: both ends say more."""
    if len(label) <= _MOST_LABEL:
        return label
    half = (_MOST_LABEL - 1) // 2
    return f"{label[: _MOST_LABEL - 1 - half]}…{label[-half:]}"


def _text(x: float, y: float, words: str, anchor: str, *, colour: str = _INK, title: str = "", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    said = f"<title>{_safe(title)}</title>" if title else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}"{weight}>{said}{_safe(words)}</text>'


def _safe(words: str) -> str:
    return escape(_UNPRINTABLE.sub("�", words), quote=False)
