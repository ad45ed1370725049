"""`coverage_asked.json`: the definitions that were asked for, by what, which chunks answer, and what became of it.

The next build carries it on where nothing changed. Ids are text there, because JavaScript loses integers past 2^53.

Belongs here: the form of that file. Not here: asking (`looking`), which answers are carried on (`continuing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pipeline.errors import IndexCorruptionError
from pipeline.files import canonical_json
from pipeline.schemas import Coverage

FORMAT = 1
Place = tuple[str, str, int]
"""A definition: its file, its qualified name, and which of that name in that file it is, from 0."""


class Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One definition. `rank` and `found_by` are those within k; `reason` says why it is not found."""

    uri: str
    symbol: str
    number: int
    lang: str
    kind: str
    query: str
    by_name: bool
    answers: list[str]
    """Ids of the chunks that answer: those that it overlaps, and exact copies."""
    rank: int | None
    found_by: list[str]
    reason: str | None
    since: str | None = None
    """The key of the coverage that asked; None: this one."""

    @property
    def place(self) -> Place:
        """Which definition it is."""
        return self.uri, self.symbol, self.number

    @property
    def told(self) -> tuple[object, ...]:
        """What the tables say of it."""
        return self.query, self.rank, tuple(self.found_by), self.reason


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    asked: list[Answered]


def write_answered(folder: Path, asked: Sequence[Answered]) -> None:
    """Write the file, by place."""
    document = _Document(version=FORMAT, asked=sorted(asked, key=lambda one: one.place))
    (folder / Coverage.ASKED).write_bytes(canonical_json(document))


def read_answered(folder: Path) -> list[Answered]:
    """The definitions that were asked for. Raises `IndexCorruptionError`, which names the file."""
    path = folder / Coverage.ASKED
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except (OSError, msgspec.MsgspecError) as error:
        raise IndexCorruptionError(
            f"{path} is damaged: {error}.", hint="Run `indexctl verify`, then `indexctl build`."
        ) from error
    if document.version != FORMAT:
        raise IndexCorruptionError(f"{path} has format {document.version}, not {FORMAT}.", hint="Run `indexctl build --full`.")
    return document.asked


def places_of(uris: Iterable[str], symbols: Iterable[str]) -> list[Place]:
    """The place of each definition, in the order of the table."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for uri, symbol in zip(uris, symbols, strict=True):
        found.append((uri, symbol, seen[uri, symbol]))
        seen[uri, symbol] += 1
    return found
