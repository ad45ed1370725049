"""People's own queries: a file with one query a line, or JSON lines that also say what answers each.

    where are sessions expired
    {"query": "…", "paths": ["django/http/request.py:40-90", "django/contrib/sessions/"]}
    {"qid": "…", "query": "…", "positive_ids": ["…"], "metadata": {"label": "…"}}

A path stands for all chunks that overlap its lines, or lie in that file or folder; it is one answer. What the version does not
have stays an answer that nothing finds: leaving it out would make an index look better for what it lacks.

Belongs here: reading such files, and what their answers are in a version. Not here: queries that are made (`synthesis`), asking
them (`evaluator`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import QueryError
from pipeline.evaluation.places import Chunked
from pipeline.evaluation.queries import TEST, TUNE, Query

MOST_QUERIES = 10_000
MOST_LINE_BYTES = 1 << 20
MOST_POSITIVES = 1 << 21
"""In one file, all its queries together."""
LABEL = "own"
_NAMED = 3
"""How many of those that are unknown a warning names."""
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
_ID = re.compile(r"[0-9]{1,19}")
_LINES = re.compile(r"(.+?):([0-9]{1,9})(?:-([0-9]{1,9}))?")
_FORMS = 'Write {"query": "…", "paths": ["a/b.py:10-40"]}, or "positive_ids" in place of "paths".'


@dataclass(frozen=True, slots=True)
class OwnQueries:
    """The queries of a file, and which of their answers the version does not have."""

    queries: tuple[Query, ...]
    unknown_ids: tuple[str, ...] = ()
    unknown_paths: tuple[str, ...] = ()
    hopeless: tuple[str, ...] = ()
    """`qid` of each query that has answers, all of them unknown: it scores 0."""
    masked: int = 0
    """Queries that hold words of their answers, which the evaluation of a version masks: a file does not have the words."""

    @property
    def judged(self) -> tuple[Query, ...]:
        """Those that have answers; the others can only be asked."""
        return tuple(query for query in self.queries if query.positives)

    def warnings(self) -> list[str]:
        """A sentence for each thing that is not as the file says."""
        told = [
            f"{len(names):,} {one if len(names) == 1 else many} in the version: {_first(names)}"
            for names, one, many in (
                (self.unknown_ids, "id is of no chunk", "ids are of no chunk"),
                (self.unknown_paths, "path matches nothing", "paths match nothing"),
            )
            if names
        ]
        if self.hopeless:
            count = len(self.hopeless)
            only = f"{count:,} queries have only such answers and score 0"
            told.append(f"{'1 query has only such answers and scores 0' if count == 1 else only}: {_first(self.hopeless)}")
        if self.masked:
            told.append(f"queries that are masked where a version is evaluated are asked here as they are: {self.masked:,}")
        return told


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name[:80]}`" for name in names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else shown


class _Line(msgspec.Struct, frozen=True):
    """A line of JSON; other fields are the writer's own."""

    query: str
    qid: str | int | None = None
    positive_ids: list[str | int] = msgspec.field(default_factory=list)
    paths: list[str] = msgspec.field(default_factory=list)
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


@dataclass(slots=True)
class _Read:
    """What is gathered while a file is read."""

    chunked: Chunked
    name: str
    queries: list[Query] = field(default_factory=list)
    unknown_ids: dict[str, None] = field(default_factory=dict)
    unknown_paths: dict[str, None] = field(default_factory=dict)
    hopeless: list[str] = field(default_factory=list)
    line_of: dict[str, int] = field(default_factory=dict)
    masked: int = 0
    positives: int = 0


def read_own(path: Path, chunked: Chunked) -> OwnQueries:
    """The queries of a file, for the version whose chunks these are. Raises `QueryError` that names file and line."""
    read = _Read(chunked, str(path))
    as_json = path.suffix.lower() in _JSON_SUFFIXES
    for number, line in _lines(path):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if len(read.queries) == MOST_QUERIES:
            raise QueryError(f"{path} has more than {MOST_QUERIES:,} queries.", hint="Ask a part of them.")
        as_json = as_json or (not read.queries and text.startswith('{"'))
        _add(read, _parsed(text, f"{path}, line {number}") if as_json else _Line(text), number)
    if not read.queries:
        raise QueryError(f"{path} holds no query.", hint="Write one query a line.")
    return OwnQueries(
        tuple(read.queries), tuple(read.unknown_ids), tuple(read.unknown_paths), tuple(read.hopeless), read.masked
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, from 1, as text."""
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(MOST_LINE_BYTES + 1):
                number += 1
                if len(raw) > MOST_LINE_BYTES:
                    raise QueryError(
                        f"{path}, line {number} is longer than {MOST_LINE_BYTES:,} bytes.", hint="Is it a text file?"
                    )
                if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise QueryError(f"{path} is UTF-16.", hint="Save it as UTF-8.")
                yield number, _decoded(raw, f"{path}, line {number}", first=number == 1)
    except OSError as error:
        raise QueryError(f"{path} cannot be read: {error.strerror}.", hint="Name a file with one query a line.") from None


def _decoded(raw: bytes, where: str, *, first: bool) -> str:
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError:
        raise QueryError(f"{where} is not UTF-8.", hint="Save the file as UTF-8.") from None
    if "\0" in text:
        raise QueryError(f"{where} holds a zero byte.", hint="Is it a text file?")
    return text


def _parsed(text: str, where: str) -> _Line:
    try:
        return msgspec.json.decode(text, type=_Line)
    except msgspec.ValidationError as error:
        raise QueryError(f"{where}: {error}.", hint=_FORMS) from None
    except msgspec.DecodeError as error:
        raise QueryError(f"{where} is broken JSON: {error}.", hint=_FORMS) from None


def _add(read: _Read, line: _Line, number: int) -> None:
    where = f"{read.name}, line {number}"
    if not line.query.strip():
        raise QueryError(f"{where}: the query is empty.", hint=_FORMS)
    qid = f"line-{number}" if line.qid is None else str(line.qid)
    if (before := read.line_of.setdefault(qid, number)) != number:
        raise QueryError(
            f"{where}: the qid `{qid[:80]}` is that of line {before}, too.", hint="Give each query one of its own."
        )
    positives, answers, known = _answers(read, line, where)
    read.positives += len(positives)
    if read.positives > MOST_POSITIVES:
        raise QueryError(f"{where}: the answers so far are {read.positives:,} chunks.", hint="Name smaller folders.")
    if positives and known is None:
        read.hopeless.append(qid)
    said = line.metadata
    uri, lang = ("", "") if known is None else read.chunked.place_of(known)
    read.masked += said.get("masked") is True
    read.queries.append(
        Query(
            qid=qid, query=line.query, label=_text(said, "label") or LABEL,
            split=TUNE if said.get("split") == TUNE else TEST,
            uri=_text(said, "uri") or uri, symbol=_text(said, "symbol"), lang=_text(said, "lang") or lang, positives=positives,
            answers=answers, neutral=_neutral(said, positives, where),
        )
    )  # fmt: skip


def _answers(read: _Read, line: _Line, where: str) -> tuple[tuple[int, ...], tuple[int, ...], int | None]:
    """Positives, the answer that each is a part of, and one of them that the version has."""
    ids = [_id(one, where) for one in line.positive_ids]
    numbers = _numbers(line, len(ids), where)
    answer_of: dict[int, int] = {}
    for one, number in zip(ids, numbers, strict=True):
        answer_of.setdefault(one, number)
    known = [one for one in answer_of if one in read.chunked]
    read.unknown_ids |= dict.fromkeys(str(one) for one in answer_of if one not in read.chunked)
    following = max(numbers, default=-1) + 1
    for number, path in enumerate(dict.fromkeys(line.paths), following):
        found = _chunks_of(read.chunked, path, where)
        if not found:
            read.unknown_paths[path] = None
        known.extend(found[:1])
        # No chunk has a negative id: this answer is never found.
        for one in found or (-1 - number,):
            # A chunk that two paths name is a part of the first.
            answer_of.setdefault(one, number)
    return tuple(answer_of), tuple(answer_of.values()), known[0] if known else None


def _chunks_of(chunked: Chunked, path: str, where: str) -> tuple[int, ...]:
    """The chunks that a path with or without lines stands for. A file may be named as if it had lines."""
    if not path.strip():
        raise QueryError(f"{where}: a path is empty.", hint=_FORMS)
    lines = _LINES.fullmatch(path)
    if lines is None or chunked.is_file(path):
        return chunked.under(path)
    first = int(lines[2])
    last = first if lines[3] is None else int(lines[3])
    if not 1 <= first <= last:
        raise QueryError(f"{where}: `{path[:80]}` names no lines.", hint="Lines count from 1, for example `a/b.py:10-40`.")
    return chunked.over(lines[1], first, last)


def _id(given: str | int, where: str) -> int:
    text = str(given)
    if not _ID.fullmatch(text) or int(text) >= 1 << 63:
        raise QueryError(f"{where}: `{text[:40]}` is not the id of a chunk.", hint="Ids are whole numbers.")
    return int(text)


def _numbers(line: _Line, count: int, where: str) -> list[int]:
    """The answer that each of `positive_ids` is a part of; without `metadata.answers` each is one of its own."""
    given = line.metadata.get("answers")
    if given is None:
        return list(range(count))
    if not isinstance(given, list) or len(given) != count or not all(type(one) is int for one in given):
        raise QueryError(f"{where}: `metadata.answers` is not a whole number for each of `positive_ids`.", hint="Leave it out.")
    return given


def _neutral(said: dict[str, Any], positives: tuple[int, ...], where: str) -> tuple[int, ...]:
    given = said.get("neutral_ids") or []
    if not isinstance(given, list):
        raise QueryError(f"{where}: `metadata.neutral_ids` is no list.", hint="Leave it out.")
    return tuple(one for one in (_id(one, where) for one in given) if one not in positives)


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""
