"""What of a query is in a chunk, and what the chunk is made of: for `search --explain`.

Why a chunk has its place is said by its channels and adjustments, which every answer has. This says what is behind them, from
the tables of the version, in one query for all hits; so it costs some ten milliseconds, and is made on request only.

Belongs here: comparing a query with the contents of chunks. Not here: how the tables are read (`catalog.hydrate`), printing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.embed import words
from pipeline.index.lexical import analyzer
from pipeline.search.adjustments import coverage

if TYPE_CHECKING:
    from pipeline.search.engine import Answer
    from pipeline.search.opened import Opened

_MOST_KINDS = 8
"""Kinds of syntax of one chunk, the outermost ones."""
_MOST_HITS = 10
"""Places of concrete syntax of one chunk that have a word of the query."""
_PARTS = ("parameter", "type parameter")
_CONTAINED = "()."
"""Stands in the symbol of what belongs to a function: its parameters and variables."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What of a query is in one chunk, and what the chunk is made of. Empty where the version has no such table."""

    terms: Mapping[str, tuple[str, ...]]
    """Field of the lexical index -> the words of the query that are in it, in the order of the query; only fields with some."""
    symbols: tuple[str, ...]
    """Names of the symbols that are defined in it, without parameters and what is inside of functions."""
    named: tuple[str, ...]
    """Those of them whose every part is a word of the query, or nearly (`adjustments.coverage`)."""
    ast_kinds: Mapping[str, int]
    """Types of its syntax nodes and how many there are, outermost first."""
    cst_hits: tuple[str, ...]
    """Concrete syntax with a word of the query in its name: `call files.write_file`."""

    def as_json(self) -> dict[str, Any]:
        """As `search --explain --json` prints it."""
        return {
            "terms": {field: list(terms) for field, terms in self.terms.items()},
            "symbols": list(self.symbols),
            "named": list(self.named),
            "ast_kinds": dict(self.ast_kinds),
            "cst_hits": list(self.cst_hits),
        }


def explain(opened: Opened, answer: Answer) -> dict[int, Matched]:
    """What is behind each hit of an answer, by chunk id. Raises `IndexCorruptionError` for damaged tables."""
    from pipeline.catalog.hydrate import hydrate
    from pipeline.catalog.joins import available

    if not answer.hits:
        return {}
    joins = available(opened.catalog, ("names", "symbols", "syntax", "mentions"))
    ids = [hit.id for hit in answer.hits]
    rows = hydrate(opened.catalog, ids, ("id", "uri", "content"), joins=joins).to_pylist()
    query = _Query.of(answer.query.text, opened.lexical.terms(answer.query.text), answer.query.words)
    return {row["id"]: _matched(query, row) for row in rows}


@dataclass(frozen=True, slots=True)
class _Query:
    """The stems that a query is looked up by, each with a word of it that has the stem; the parts of its words; and what makes
    stems of terms."""

    stems: Mapping[str, str]
    parts: tuple[str, ...]
    analyse: Callable[[str], list[str]]

    @classmethod
    def of(cls, text: str, stems: Iterable[str], parts: tuple[str, ...]) -> _Query:
        analyse, spelt = analyzer().analyze, dict[str, str]()
        for run in words.runs(text):
            for term in words.terms(run):
                # A name as a whole is looked up without underscores and in lower case, and shown as it was written.
                shown = term if term in words.parts(run) else run
                spelt.update((stem, shown) for stem in analyse(term) if stem not in spelt)
        return cls({stem: spelt.get(stem, stem) for stem in stems}, parts, analyse)

    def found_in(self, text: str) -> tuple[str, ...]:
        """The words of the query that the lexical index would find in a text."""
        distinct = dict.fromkeys(words.runs(text))
        stems = set(self.analyse(" ".join(term for run in distinct for term in words.terms(run))))
        return tuple(word for stem, word in self.stems.items() if stem in stems)


def _matched(query: _Query, row: Mapping[str, Any]) -> Matched:
    fields = {"body": row["content"], "names": " ".join(row.get("names", ())), "path": row["uri"]}
    terms = {field: found for field, text in fields.items() if (found := query.found_in(text))}
    symbols = _short_names(row.get("symbols", ()))
    named = tuple(name for name in symbols if coverage(_parts_of(name), query.parts) == 1.0)
    kinds = {one["type"]: one["count"] for one in row.get("syntax", ())[:_MOST_KINDS]}
    mentioned = [f"{one['kind']} {one['name']}" for one in row.get("mentions", ()) if query.found_in(one["name"])]
    return Matched(terms, symbols, named, kinds, tuple(mentioned[:_MOST_HITS]))


def _short_names(symbols: Sequence[str]) -> tuple[str, ...]:
    """What symbols are called, each name once."""
    from pipeline.structure.scip.symbol_grammar import last_descriptor

    found: dict[str, None] = {}
    for symbol in symbols:
        last = last_descriptor(symbol)
        if last is not None and last.suffix not in (*_PARTS, "namespace") and _CONTAINED not in symbol[: -len(_CONTAINED)]:
            found[last.name] = None
    return tuple(found)


def _parts_of(name: str) -> tuple[str, ...]:
    return tuple(part for run in words.runs(name) for part in words.parts(run))
