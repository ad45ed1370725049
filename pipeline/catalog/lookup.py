"""Which symbols a name means.

Belongs here: the ways in which a name may be written and meant, and the order of what it means. Not here: what is known of a
symbol (`symbol_table`), putting answers together for people (`describe`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.catalog.numbering import Numbers
from pipeline.catalog.symbol_table import SymbolTable
from pipeline.errors import QueryError
from pipeline.structure.scip.symbol_grammar import display, last_descriptor, owner_of

_SEPARATOR = re.compile(r"::|->|[#/\\]")
_EXTENSION = re.compile(r"(?<=[^/.])\.\w{1,10}(?=::|#|$)")
"""Of a file, also before what it defines: `django/db/models/query.py::QuerySet`."""
_FILE_MARK = re.compile(r"::|[/#]")
_FILE = re.compile(r"`([^`]*?[^`/.])\.\w{1,10}`/")
_MARKS = re.compile(r"\([\w+$-]*\)\.|[)(\]\[/#:!]")
_DOTS = re.compile(r"\.{2,}")
_BETWEEN = r"(?:\W|\([\w+$-]+\)\.|\.\w{1,10}`)+"
"""What stands between two parts of a path in a symbol: marks, the number of an overload, the extension of a file."""
_END = r"`?(?:\.\w{1,10}`)?(?:[/#:!.)\]]|\([\w+$-]*\)\.)?$"
_OF_HERE = ("file", "name")
"""Kinds of symbols that stand for something here without a definition."""
_MOST_PARTS = 64
"""Of a name; what has more is data."""
_NOTHING: Numbers = np.empty(0, np.int32)


def find_symbols(table: SymbolTable, name: str) -> Numbers:
    """The symbols that `name` means, int32 [n].

    `name` is a whole symbol, a simple name, or a qualified one (`QuerySet.filter`, `a.b.QuerySet`, also with `#`, `::`, `->` or
    `/`, or after the path of its file). The first of these ways that finds something counts: as written, with parts of the path
    left out (`a.QuerySet` for `a.b.QuerySet`), as what a class inherits, as the start of a name, without regard to case.

    What is defined here comes before other things, and what is referred to more comes first. Parameters, which share their
    names with what people look for, count where nothing else has the name. Where syntax alone was known, the symbol of
    unresolved references that are spelt like the name comes last. Raises `QueryError` for no name.
    """
    whole = _checked(name)
    if " " in whole and (number := table.number_of(whole)) is not None:
        return np.array([number], np.int32)
    for written in _spellings(whole):
        sought = _Sought(table, written)
        for way in (sought.exactly, sought.leaving_out, sought.inherited, sought.as_start, sought.in_any_case):
            if len(found := way()):
                return _ordered(table, found)
    return _NOTHING


def qualified_name(table: SymbolTable, number: int) -> str:
    """A symbol as people write it, without scheme, package and module: `QuerySet.filter`; the display name of a module. What is
    defined elsewhere has its module, too, without which a name may mean many things: `pathlib.Path.exists`."""
    symbol = table.symbols[number]
    if table.plain:
        return symbol
    if table.kinds[number] not in _OF_HERE and not table.places.has_definition(number):
        return display(symbol)
    return (table.kinds[number] != "file" and _inside_of_module(symbol)) or table.name(number)


def name_of(symbol: str) -> str:
    """A symbol that is defined here as people write it: `QuerySet.filter`; of a module all of its path."""
    last = last_descriptor(symbol)
    module = last is not None and last.suffix in ("meta", "namespace")
    return (not module and _inside_of_module(symbol)) or display(symbol)


def _inside_of_module(symbol: str) -> str:
    """A symbol without scheme, package and module; empty where nothing is left, or what is left is no plain name."""
    tail = symbol.rpartition("/")[2].rpartition(" ")[2]
    return "" if "`" in tail else _dotted(tail)


def _has_parts(table: SymbolTable, number: int, wanted: list[str]) -> bool:
    """Whether a symbol has these parts, last one first, in their order; and ends with the first of them."""
    symbol = table.symbols[number]
    if not all(part in symbol for part in wanted):
        return False
    path = symbol if table.plain else _dotted(_FILE.sub(r"\1/", symbol).replace(" ", "."))
    parts = iter(reversed(path.split(".")))
    return next(parts) == wanted[0] and all(part in parts for part in wanted[1:])


def _dotted(symbol: str) -> str:
    return _DOTS.sub(".", _MARKS.sub(".", symbol.replace("`", ""))).strip(".")


def _spellings(whole: str) -> Iterator[str]:
    """A name with dots only, as it is and without the extension of a file."""
    whole = whole.removesuffix("()")
    spellings = (whole, _EXTENSION.sub("", whole)) if _FILE_MARK.search(whole) else (whole,)
    for written in map(_dots, spellings):
        if written and written.count(".") < _MOST_PARTS:
            yield written


def _dots(name: str) -> str:
    return _SEPARATOR.sub(".", name).lstrip("@&").strip(".")


@dataclass(frozen=True, slots=True)
class _Sought:
    """The ways to mean a name that is written with dots."""

    table: SymbolTable
    written: str

    @property
    def last(self) -> str:
        return self.written.rpartition(".")[2]

    def whole(self, found: Numbers) -> Numbers:
        """Without parameters and other parts of definitions, which are found only by all that they belong to."""
        definitions: Numbers = found[~self.table.part[found]]
        return definitions

    def exactly(self) -> Numbers:
        """The name as it is, alone or at the end of a path. Names may have dots of their own."""
        found = [self._spelt(self.written)]
        if self.last != self.written:
            found.append(self._on_path(self._spelt(self.last), _END))
        return self._with_unresolved(np.concatenate(found))

    def leaving_out(self) -> Numbers:
        """The end of a path and, in their order, some of what is before it: packages name what their modules define."""
        if self.last == self.written:
            return _NOTHING
        found, wanted = self.whole(self._spelt(self.last)), self.written.split(".")[::-1]
        return np.array([number for number in found.tolist() if _has_parts(self.table, number, wanted)], np.int32)

    def inherited(self) -> Numbers:
        """What the nearest bases of a class have of that name."""
        if self.last == self.written:
            return _NOTHING
        table, members = self.table, self.whole(self._spelt(self.last))
        seen: set[int] = set()
        level = set(_Sought(table, self.written.rpartition(".")[0]).exactly().tolist()) if len(members) else set()
        while level:
            owners = tuple(table.symbols[number] for number in level)
            near = [number for number in members.tolist() if table.symbols[number].startswith(owners)]
            if own := [number for number in near if owner_of(table.symbols[number]) in owners]:
                return np.array(own, np.int32)
            seen |= level
            level = set(table.relations["bases"].of(level).tolist()) - seen
        return _NOTHING

    def as_start(self) -> Numbers:
        """The start of a name."""
        names = self.table.names
        first, end = bisect_left(names.folded, self.last.lower()), len(names.folded)
        end = bisect_left(names.folded, True, first, end, key=lambda name: not name.startswith(self.last.lower()))
        found = names.symbols[names.bounds[first] : names.bounds[end]]
        found = self._written(found, lambda name: name.startswith(self.last))
        if self.last == self.written:
            return found
        return self._on_path(self.whole(found), "")

    def in_any_case(self) -> Numbers:
        """The name in other case."""
        found = self._folded(self.last)
        if self.last == self.written:
            return found
        return self._on_path(self.whole(found), _END, re.IGNORECASE)

    def _folded(self, name: str) -> Numbers:
        names, folded = self.table.names, name.lower()
        place = bisect_left(names.folded, folded)
        if place == len(names.folded) or names.folded[place] != folded:
            return _NOTHING
        return names.symbols[names.bounds[place] : names.bounds[place + 1]]

    def _spelt(self, name: str) -> Numbers:
        return self._written(self._folded(name), name.__eq__)

    def _written(self, found: Numbers, good: Callable[[str], bool]) -> Numbers:
        names = self.table.names
        codes = names.code[found]
        written: Numbers = found[np.isin(codes, [code for code in np.unique(codes).tolist() if good(names.spelt[code])])]
        return written

    def _on_path(self, found: Numbers, end: str, flags: int = 0) -> Numbers:
        """Those whose symbols have all of the name, one part after the other, before what matches `end`."""
        if not len(found):
            return found
        first, *rest = map(re.escape, self.written.split("."))
        # Starting with plain letters, and looking back over them, which is what `re` is fast at.
        path = _BETWEEN.join([rf"{first}(?<![\w$+-]{first})", *rest])
        good, symbols = re.compile(path + end, flags).search, self.table.symbols
        return np.array([number for number in found.tolist() if good(symbols[number])], np.int32)

    def _with_unresolved(self, found: Numbers) -> Numbers:
        """With the references to something of that name, of which syntax alone could not tell what it is."""
        table = self.table
        if not any(table.provenances[number] == "syntax" for number in found.tolist()):
            return found
        spelt = self._spelt(self.last)
        return np.union1d(found, spelt[[table.kinds[number] == "name" for number in spelt.tolist()]])


def _ordered(table: SymbolTable, found: Numbers) -> Numbers:
    found = np.unique(found)
    if not table.part[found].all():
        found = found[~table.part[found]]
    bounds = table.places.bounds
    first, references = bounds[2 * found], bounds[2 * found + 1]
    elsewhere = first == references
    uri, line = (column[np.minimum(first, len(column) - 1)] if len(column) else first for column in
                 (table.places.uri, table.places.line))  # fmt: skip
    count = bounds[2 * found + 2] - references
    return found[np.lexsort((found, np.where(elsewhere, 0, line), np.where(elsewhere, 0, uri), -count, elsewhere))]


def _checked(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise QueryError(f"{name!r} is not Unicode text.") from None
    if not name.strip():
        raise QueryError("No symbol was named.", hint="Give a name, for example `QuerySet.filter`.")
    return name.strip()
