"""The grammar of SCIP symbols: which package a symbol is of, and the path of names that leads to it.

`scheme ' ' manager ' ' package ' ' version ' ' descriptor+`, or `local ' ' id`; the grammar stands in `scip.proto`.

A whole symbol is read from its start by `parse`. The end of one, its last descriptor, is read backwards, since most questions
ask for no more: of a single symbol (`last_descriptor`, `owner_of`) or of a column of distinct ones (`ending_with`,
`LastDescriptors`), by the same rule. What is before the end is not looked at, so that a symbol may break the grammar there.

Nothing here loads pyarrow.compute, which would cost a fresh process more than its answer.

Belongs here: taking symbols apart, writing names into them, and showing them to people. Not here: what an index says of a
symbol (`reader`), how sources spell a name (`fit`), what single indexers write as names (`described`).
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.columns import bytes_of, spans_of
from pipeline.errors import IndexFormatError

Suffix = Literal["namespace", "type", "term", "method", "type parameter", "parameter", "meta", "macro"]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

LOCAL = "local "
"""How symbols begin that mean something in their document only."""
MODULE = "__init__"
"""How scip-python calls what a file is as a whole, `pkg/__init__:`."""
SIMPLE_NAME = r"[A-Za-z0-9_+$-]+"
"""What is written as it is; other names stand in backticks, a backtick of their own doubled."""
_SIMPLE = string.ascii_letters + string.digits + "_+$-"
_NAME = r"(?:`(?:[^`]++|``)++`|[A-Za-z0-9_+$-]++)"
_DESCRIPTOR = re.compile(rf"\[({_NAME})\]|\(({_NAME})\)|({_NAME})(?:([/#:!.])|\(([A-Za-z0-9_+$-]*+)\)\.)")
_LOCAL = re.compile(rf"{LOCAL}({SIMPLE_NAME})")
_PLAIN = re.compile(SIMPLE_NAME)
_FIELD = re.compile(r"((?:[^ ]++|  )++) ")
"""What ends with a single space; spaces of its own are doubled."""
_OPENING = re.compile(r"(?<!`)`(?:``)*+(?!`)")
"""An odd number of backticks: one of them opens or closes a name, and any others are its own."""
_ENDS: dict[str, Suffix] = {"/": "namespace", "#": "type", ".": "term", ":": "meta", "!": "macro"}
_BRACKETS: dict[str, tuple[str, Suffix]] = {"]": ("[", "type parameter"), ")": ("(", "parameter")}
_FIELDS = ("scheme", "manager", "package name", "version")
_SHOWN = 120
_HINT = "The indexer that wrote it does not keep to the format."

_SUFFIXES: tuple[Suffix, ...] = (
    "namespace", "type", "term", "meta", "macro", "type parameter", "parameter", "method",
)  # fmt: skip
_METHOD = len(_SUFFIXES)
_TICK, _DOT = b"`."
_BY_LAST_BYTE = np.zeros(256, np.uint8)
"""Places in `_SUFFIXES` from 1; a method ends like a term, but for the parenthesis before."""
_BY_LAST_BYTE[np.frombuffer(b"/#.:!])", np.uint8)] = np.arange(1, _METHOD)
_OPENED_BY = np.zeros(_METHOD + 1, np.uint8)
_OPENED_BY[[6, 7]] = np.frombuffer(b"[(", np.uint8)
_IS_SIMPLE = np.zeros(256, np.bool_)
_IS_SIMPLE[np.frombuffer(_SIMPLE.encode(), np.uint8)] = True


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One step of a symbol's path. `disambiguator` tells overloads of a method apart."""

    name: str
    suffix: Suffix
    disambiguator: str = ""


_MODULE = Descriptor(MODULE, "meta")


@dataclass(frozen=True, slots=True)
class ScipSymbol:
    """A symbol taken apart, all names unescaped. A local one has only `local`, its id within the document."""

    scheme: str = ""
    manager: str = ""
    package: str = ""
    version: str = ""
    descriptors: tuple[Descriptor, ...] = ()
    local: str = ""


def parse(symbol: str) -> ScipSymbol:
    """Take a symbol apart. The placeholder `.` for an empty manager, package or version becomes empty.

    Raises IndexFormatError naming the character (from 0) at which the symbol leaves the grammar.
    """
    if symbol.startswith(LOCAL):
        match = _LOCAL.fullmatch(symbol)
        if match is None:
            raise _wrong(symbol, len(LOCAL), "an id")
        return ScipSymbol(local=match[1])
    at = 0
    fields = []
    for name in _FIELDS:
        match = _FIELD.match(symbol, at)
        if match is None:
            raise _wrong(symbol, at, f"a {name} and a space")
        fields.append(match[1].replace("  ", " "))
        at = match.end()
    descriptors: list[Descriptor] = []
    while at < len(symbol) or not descriptors:
        match = _DESCRIPTOR.match(symbol, at)
        if match is None:
            raise _wrong(symbol, at, "a descriptor")
        descriptors.append(_descriptor(match))
        at = match.end()
    scheme, *package = fields
    manager, name, version = ("" if value == "." else value for value in package)
    return ScipSymbol(scheme, manager, name, version, tuple(descriptors))


def _descriptor(match: re.Match[str]) -> Descriptor:
    type_parameter, parameter, name, suffix, disambiguator = match.groups()
    if type_parameter is not None:
        return Descriptor(_plain(type_parameter), "type parameter")
    if parameter is not None:
        return Descriptor(_plain(parameter), "parameter")
    if suffix is None:
        return Descriptor(_plain(name), "method", disambiguator)
    return Descriptor(_plain(name), _ENDS[suffix])


def _plain(name: str) -> str:
    """A name without its backticks."""
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def _wrong(symbol: str, at: int, expected: str) -> IndexFormatError:
    shown = symbol if len(symbol) <= _SHOWN else f"{symbol[:_SHOWN]}…"
    return IndexFormatError(f"`{shown}` is no SCIP symbol: {expected} should begin at character {at}.", hint=_HINT)


def escaped(name: str) -> str:
    """A name as the grammar writes it. An empty one has no way to be written."""
    return name if _PLAIN.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def display(symbol: str) -> str:
    """A symbol for people: its names joined by dots, `django.db.models.query.QuerySet.filter`.

    Parameters stand in parentheses, type parameters in brackets, macros have a `!`; the scheme and package are left out, and
    the mark of a module. What is no symbol, and a local one, is shown as it is.
    """
    try:
        parsed = parse(symbol)
    except IndexFormatError:
        return symbol
    if parsed.local:
        return symbol
    shown = ""
    for step in parsed.descriptors:
        if step.suffix == "parameter":
            shown += f"({step.name})"
        elif step.suffix == "type parameter":
            shown += f"[{step.name}]"
        elif not shown or step != _MODULE:
            shown += ("." if shown else "") + step.name + ("!" if step.suffix == "macro" else "")
    return shown


def last_descriptor(symbol: str) -> Descriptor | None:
    """The descriptor that a symbol ends with; None for a local one, and for what ends with none."""
    found = _split(symbol)
    return found[1] if found else None


def owner_of(symbol: str) -> str:
    """The symbol without its last descriptor: what it is a member of. Empty for what ends with none."""
    found = _split(symbol)
    return found[0] if found else ""


def _split(symbol: str) -> tuple[str, Descriptor] | None:
    """What is before the last descriptor, and that."""
    head, end = symbol[:-1], symbol[-1:]
    opened, suffix = _BRACKETS.get(end, ("", _ENDS.get(end)))
    disambiguator = ""
    if end == "." and head.endswith(")"):
        stem = head[:-1].rstrip(_SIMPLE)
        if not stem.endswith("("):
            return None
        head, disambiguator, suffix = stem[:-1], head[len(stem) : -1], "method"
    start = _start_of_name(head)
    if suffix is None or start is None or not head[:start].endswith(opened):
        return None
    return head[: start - len(opened)], Descriptor(_plain(head[start:]), suffix, disambiguator)


def _start_of_name(text: str) -> int | None:
    """Where the name at the end of a text begins; None where there is no name."""
    if not text.endswith("`"):
        start = len(text.rstrip(_SIMPLE))
        return start if start < len(text) else None
    start = len(text.rstrip("`"))
    if (len(text) - start) % 2 == 0:
        return start if len(text) - start > 2 else None  # it is made of backticks
    found = [match.start() for match in _OPENING.finditer(text, 0, start)]
    return found[-1] if found else None


def ending_with(symbols: pa.StringArray, *suffixes: Suffix) -> Flags:
    """Which of the symbols [n] end with a descriptor of these kinds, as their last two bytes tell. Of what is outside of the
    grammar it may say so where `last_descriptor` finds none."""
    wanted = np.zeros(_METHOD + 1, np.bool_)
    wanted[[_SUFFIXES.index(suffix) + 1 for suffix in suffixes]] = True
    found: Flags = wanted[_suffixes(*bytes_of(symbols))]
    return found


def _suffixes(bounds: Numbers, data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Places in `_SUFFIXES` from 1, uint8 [n]; 0 for what ends with none of them."""
    found = np.zeros(len(bounds) - 1, np.uint8)
    filled = np.flatnonzero(np.diff(bounds))
    found[filled] = _BY_LAST_BYTE[data[bounds[1:][filled] - 1]]
    dotted = np.flatnonzero((found == _BY_LAST_BYTE[_DOT]) & (np.diff(bounds) > 1))
    found[dotted[data[bounds[1:][dotted] - 2] == ord(")")]] = _METHOD
    return found


@dataclass(frozen=True, slots=True)
class LastDescriptors:
    """The last descriptors of symbols [n], as `last_descriptor` has them: bytes into `data`, which holds all symbols."""

    data: NDArray[np.uint8]
    symbol: Numbers
    """int64 [n]: where the symbol begins."""
    owner_end: Numbers
    """int64 [n]: where its owner ends and the descriptor begins; where there is none, both are at `symbol`."""
    start: Numbers
    """int64 [n], as `end`: the name without its backticks, empty where there is no descriptor."""
    end: Numbers
    is_escaped: Flags
    """bool [n]: whether the name stands in backticks."""

    @classmethod
    def of(cls, symbols: pa.StringArray) -> LastDescriptors:
        """Those of symbols; in time that grows with their bytes, whatever these are."""
        bounds, data = bytes_of(symbols)
        low, high = bounds[:-1], bounds[1:]
        suffix = _suffixes(bounds, data)
        padded = np.append(data, np.uint8(0))
        breaks = np.append(-1, np.flatnonzero(~_IS_SIMPLE[data]))

        def after_break(ends: Numbers, rows: Flags | slice) -> Numbers:
            """Where the simple characters before `ends` begin."""
            found: Numbers = np.maximum(breaks[np.searchsorted(breaks, ends) - 1] + 1, low[rows])
            return found

        end = np.where(suffix > 0, high - 1, low)
        methods = suffix == _METHOD
        if methods.any():
            opened = after_break(high[methods] - 2, methods) - 1
            end[methods] = np.where((opened >= low[methods]) & (padded[opened] == ord("(")), opened, low[methods])
        start = after_break(end, slice(None))
        is_escaped = (end > low) & (padded[end - 1] == _TICK)
        if is_escaped.any():
            start[is_escaped] = _openings(data, low, end[is_escaped], low[is_escaped])
        opening = _OPENED_BY[suffix]
        brackets = opening > 0
        good = (start < end) & (~brackets | ((start > low) & (padded[start - 1] == opening)))
        is_escaped &= good
        start, end = np.where(good, start, low), np.where(good, end, low)
        return cls(data, low, start - (brackets & good), start + is_escaped, end - is_escaped, is_escaped)

    def names(self) -> pa.StringArray:
        """The names, unescaped."""
        offsets, data = spans_of(self.data, self.start, self.end)
        # A name holds backticks in pairs, of which one remains.
        doubled = np.flatnonzero(data == _TICK)[1::2]
        if len(doubled):
            offsets = offsets - np.searchsorted(doubled, offsets)
            data = np.delete(data, doubled)
        return _strings(offsets, data)

    def owners(self) -> pa.StringArray:
        """What `owner_of` gives for each symbol."""
        return _strings(*spans_of(self.data, self.symbol, self.owner_end))


def _openings(data: NDArray[np.uint8], symbols: Numbers, end: Numbers, low: Numbers) -> Numbers:
    """Where the names in backticks begin that end at `end` [k] in symbols that begin at `low` [k]; `end` where none does.

    `symbols` are the starts of all symbols: backticks of two of them may be neighbours.
    """
    ticks = np.flatnonzero(data == _TICK)
    starts = np.zeros(len(data) + 1, np.bool_)
    starts[symbols] = True
    first = np.flatnonzero(np.append(True, np.diff(ticks) != 1) | starts[ticks])
    runs, lengths = ticks[first], np.diff(np.append(first, len(ticks)))
    odd = np.maximum.accumulate(np.where(lengths % 2 == 1, np.arange(len(runs)), -1))
    closing = np.searchsorted(runs, end, side="left") - 1
    length = end - runs[closing]
    opening = np.append(odd, -1)[closing - 1]
    found = np.where((opening >= 0) & (runs[opening] >= low), runs[opening], end)
    # An even number of backticks at the end is a name that is made of them.
    return np.where(length % 2 == 1, found, np.where(length > 2, runs[closing], end))


def _strings(offsets: Numbers, data: NDArray[np.uint8]) -> pa.StringArray:
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data))
