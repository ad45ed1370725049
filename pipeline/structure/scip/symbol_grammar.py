"""The grammar of SCIP symbols: which package a symbol is of, and the path of names that leads to it.

`scheme ' ' manager ' ' package ' ' version ' ' descriptor+`, or `local ' ' id`; the grammar stands in `scip.proto`.

Belongs here: taking symbols apart and showing them to people. Not here: what an index says of a symbol (`reader`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import IndexFormatError

_NAME = r"(?:`(?:[^`]++|``)++`|[A-Za-z0-9_+$-]++)"
_DESCRIPTOR = re.compile(rf"\[({_NAME})\]|\(({_NAME})\)|({_NAME})(?:([/#:!.])|\(([A-Za-z0-9_+$-]*+)\)\.)")
_LOCAL = re.compile(r"local ([A-Za-z0-9_+$-]+)")
_FIELD = re.compile(r"((?:[^ ]++|  )++) ")
"""What ends with a single space; spaces of its own are doubled."""
_SUFFIXES = {"/": "namespace", "#": "type", ".": "term", ":": "meta", "!": "macro"}
_FIELDS = ("scheme", "manager", "package name", "version")
_SHOWN = 120
_HINT = "The indexer that wrote it does not keep to the format."


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One step of a symbol's path.

    `suffix` is namespace, type, term, method, type parameter, parameter, meta or macro. `disambiguator` tells overloads of a
    method apart.
    """

    name: str
    suffix: str
    disambiguator: str = ""


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
    if symbol.startswith("local "):
        match = _LOCAL.fullmatch(symbol)
        if match is None:
            raise _wrong(symbol, len("local "), "an id")
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
    return Descriptor(_plain(name), _SUFFIXES[suffix])


def _plain(name: str) -> str:
    """A name without its backticks."""
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def _wrong(symbol: str, at: int, expected: str) -> IndexFormatError:
    shown = symbol if len(symbol) <= _SHOWN else f"{symbol[:_SHOWN]}…"
    return IndexFormatError(f"`{shown}` is no SCIP symbol: {expected} should begin at character {at}.", hint=_HINT)


def display(symbol: str) -> str:
    """A symbol for people: its names joined by dots, `django.db.models.query.QuerySet.filter`.

    Parameters stand in parentheses, type parameters in brackets, macros have a `!`; the scheme and package are left out. What
    is no symbol, and a local one, is shown as it is.
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
        else:
            shown += ("." if shown else "") + step.name + ("!" if step.suffix == "macro" else "")
    return shown
