"""What structure says about fused candidates: each adjustment is a factor with a name, and the explanation shows them.

In order: the roles of a chunk's file; how well the file's name fits; how well its chunks together hold the query; and that
further chunks of one file say less than the first. Factors and their defaults are `SearchSettings`.

Belongs here: arithmetic over candidates and facts of their files. Not here: channels and their sum (`fusion`), which file has
which role (`index.file_roles`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config import SearchSettings
from pipeline.index.chunk_files import ROLES
from pipeline.search.files import FileFacts
from pipeline.search.fusion import Ids
from pipeline.search.query import Kind, Parsed

Factors = npt.NDArray[np.float64]
_EVIDENCE_CHUNKS = 10
"""So many best chunks of a file make up its evidence."""
_LEAST_PREFIX = 3
"""Characters of a word of a file name that may be the start of a longer one in the query (`auth`)."""


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Scores float64 [n], and each adjustment's factors float64 [n] by name."""

    scores: Factors
    factors: dict[str, Factors]

    def of(self, row: int) -> dict[str, float]:
        """What changed the score of one candidate."""
        return {name: float(factors[row]) for name, factors in self.factors.items() if factors[row] != 1.0}


@dataclass(frozen=True, slots=True)
class KindWeights:
    """The adjustments that depend on the kind of query: 0, and for `same_file` 1, where they do not apply."""

    file_name_match: float = 0.0
    folder_match: float = 0.0
    file_evidence: float = 0.0
    same_file: float = 1.0

    @classmethod
    def of(cls, kind: Kind, settings: SearchSettings) -> KindWeights:
        """A sentence describes one definition, whatever else its file holds and is called; a name's chunks may lie together."""
        match kind:
            case Kind.QUESTION:
                evidence = settings.question_file_evidence
                return cls(settings.file_name_match, settings.folder_match, evidence, settings.same_file_factor)
            case Kind.PHRASE:
                evidence = settings.phrase_file_evidence
                return cls(settings.file_name_match, settings.folder_match, evidence, settings.same_file_factor)
            case Kind.NAME:
                return cls(settings.file_name_match, settings.folder_match)
            case Kind.PATH | Kind.SENTENCE:
                return cls()


def adjust(candidates: Ids, fused: Factors, facts: FileFacts, query: Parsed, settings: SearchSettings) -> Adjusted:
    """The candidates' scores with structure taken into account."""
    weights = KindWeights.of(query.kind, settings)
    owners = facts.files.of(candidates)
    numbers, places = np.unique(owners, return_inverse=True)
    factors = _of_roles(facts.files.roles[owners], query, settings)
    if weights.file_name_match > 0:
        fits = np.array([coverage(facts.name_words(number), query.words) for number in numbers.tolist()])
        factors["file name"] = np.asarray(1.0 + weights.file_name_match * fits[places], np.float64)
    if weights.folder_match > 0:
        fits = np.array([coverage(facts.folder_words(number), query.words) for number in numbers.tolist()])
        factors["folder"] = np.asarray(1.0 + weights.folder_match * fits[places], np.float64)
    scores: Factors = np.asarray(np.prod([fused, *factors.values()], axis=0), np.float64)
    turns = _turns(scores, places)
    if weights.file_evidence > 0:
        held = np.bincount(places, np.where(turns < _EVIDENCE_CHUNKS, scores, 0.0), len(numbers))
        best = held.max(initial=0.0)
        evidence = 1.0 + weights.file_evidence * (held / best if best > 0 else held)[places]
        factors["file evidence"] = np.asarray(evidence, np.float64)
        scores *= factors["file evidence"]
    if weights.same_file < 1:
        factors["further chunk of its file"] = np.asarray(weights.same_file**turns, np.float64)
        scores *= factors["further chunk of its file"]
    return Adjusted(scores, factors)


def _of_roles(roles: npt.NDArray[np.uint16], query: Parsed, settings: SearchSettings) -> dict[str, Factors]:
    """A factor for every role that some candidate has and that the query does not ask for."""
    found = {}
    for place, role in enumerate(ROLES):
        having = roles & (1 << place) > 0
        if role not in query.asks_for and having.any() and not (role == "private" and query.kind is Kind.SENTENCE):
            found[role] = np.where(having, getattr(settings, f"{role}_factor"), 1.0)
    return found


def _turns(scores: Factors, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each candidate how many of its file are better, int64 [n]; ties in the order of the candidates."""
    order = np.lexsort((-scores, places))
    sorted_places = places[order]
    starts = np.searchsorted(sorted_places, sorted_places)
    turns = np.empty(len(scores), np.int64)
    turns[order] = np.arange(len(scores)) - starts
    return turns


def coverage(name: tuple[str, ...], query: tuple[str, ...]) -> float:
    """The share of a name's words that are words of a query, or the start of one, or the other way round."""
    if not name:
        return 0.0
    return sum(any(_meets(part, word) for word in query) for part in name) / len(name)


def _meets(part: str, word: str) -> bool:
    short = len(part) >= _LEAST_PREFIX and word.startswith(part)
    return short or part == word or (len(word) > _LEAST_PREFIX and part.startswith(word))
