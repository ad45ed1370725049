"""The shapes of answers, for OpenAPI alone: tests hold that real answers have exactly these fields.

Belongs here: what a client may count on. Not here: making answers (`interfaces.answers`, `interfaces.statuses`, `quality`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pipeline.evaluation.document import CoverageDocument, Figures, MetricsDocument, Nearest, Share

Id = Annotated[str, Meta(description="A number up to 2^63, as text.")]


class Answer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What all answers share."""


class Behind(Answer, kw_only=True):
    """How far the repository has moved on; null where that is not known."""

    files: int | None
    commits: int | None
    reason: str


class Head(Answer, kw_only=True):
    """Where an answer is from, and whether the repository has moved on since."""

    repo: str
    version: str
    stale: bool
    behind: Behind


class Channel(Answer, kw_only=True):
    """How a channel fared."""

    state: str
    found: int
    reason: str | UnsetType = UNSET


class Contribution(Answer, kw_only=True):
    """What a channel gave to a result."""

    rank: int | None
    score: float
    contribution: float
    symbols: list[str] | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class Matched(Answer, kw_only=True):
    """What of the query is in a chunk, and what that is made of."""

    terms: dict[str, list[str]]
    symbols: list[str]
    named: list[str]
    ast_kinds: dict[str, int]
    cst_hits: list[str]


class TokenMatch(Answer, kw_only=True):
    """Which token of the chunk answers one of the query."""

    query: str
    similarity: float
    text: str | None
    line: int | None
    start_byte: int | None
    end_byte: int | None


class Place(Answer, kw_only=True):
    """A chunk as results show it."""

    id: Id
    uri: str
    start_line: int
    end_line: int
    lang: str
    kind: str
    name: str
    preview: str


class Result(Place, kw_only=True):
    """A chunk that was found, and why."""

    rank: int
    score: float
    explanation: dict[str, Contribution]
    adjustments: dict[str, float]
    tokens: list[TokenMatch] | UnsetType = UNSET
    matched: Matched | UnsetType = UNSET
    content: str | UnsetType = UNSET


class Searched(Head, kw_only=True):
    """What a search found."""

    query: str
    kind: str
    unread: Annotated[int, Meta(description="Characters at the end of a long query that were not read.")] | UnsetType = UNSET
    channels: dict[str, Channel]
    results: list[Result]
    offset: int
    more: bool


class Related(Head, kw_only=True):
    """What is near a chunk."""

    chunk: Place
    duplicates: list[Place]
    channels: dict[str, Channel]
    results: list[Result]


class Scope(Answer, kw_only=True):
    """A definition around a chunk."""

    kind: str
    name: str
    line: int


class Named(Answer, kw_only=True):
    """A symbol by its names."""

    symbol: str
    display_name: str
    qualified_name: str
    kind: str


class Chunk(Head, kw_only=True):
    """A chunk with its text, what it stands in, what it defines, who calls that, and what it calls."""

    commit: str | None
    id: Id
    uri: str
    lang: str
    kind: str
    name: str
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    content: str
    scope: list[Scope] | UnsetType = UNSET
    defines: list[Named] | UnsetType = UNSET
    callers: list[str] | UnsetType = UNSET
    caller_count: int | UnsetType = UNSET
    callees: list[str] | UnsetType = UNSET
    callee_count: int | UnsetType = UNSET


class Lines(Head, kw_only=True):
    """Lines of a file as it was indexed; `lines` is how many it has."""

    commit: str | None
    uri: str
    lang: str
    start_line: int
    end_line: int
    lines: int
    content: str


class Occurrence(Answer, kw_only=True):
    """Where a name stands."""

    uri: str
    line: int
    start_byte: int
    end_byte: int


class Other(Answer, kw_only=True):
    """A symbol that another one has to do with, and where it is defined."""

    symbol: str
    display_name: str
    qualified_name: str
    uri: str | None
    line: int | None


class Symbol(Named, kw_only=True):
    """What is known of a symbol."""

    provenance: str
    signature: str
    documentation: str
    definitions: list[Occurrence]
    references: list[Occurrence]
    bases: list[Other]
    implementations: list[Other]
    callers: list[Other]
    callees: list[Other]
    reference_count: int
    base_count: int
    implementation_count: int
    caller_count: int
    callee_count: int


class Symbols(Head, kw_only=True):
    """The symbols of a name."""

    name: str
    symbol_count: int
    symbols: list[Symbol]
    offset: int
    more: bool


class StatusRow(Answer, kw_only=True):
    """What is published of a repository. Where its version cannot be opened, `version` is null and `problem` says why."""

    repo: str
    version: str | None
    problem: str | UnsetType = UNSET
    commit: str | UnsetType | None = UNSET
    dirty: bool | UnsetType = UNSET
    stale: bool | UnsetType = UNSET
    behind: Behind | UnsetType = UNSET
    building: bool | UnsetType = UNSET
    chunks: int | UnsetType = UNSET
    vectors: int | UnsetType = UNSET
    languages: dict[str, int] | UnsetType = UNSET
    embedder: str | UnsetType = UNSET
    operating_point: dict[str, Any] | UnsetType = UNSET
    recall: float | UnsetType | None = UNSET
    published_at: float | UnsetType | None = UNSET
    allowed: dict[str, list[str]] | UnsetType = UNSET
    path: str | UnsetType = UNSET
    catalog: dict[str, Any] | UnsetType | None = UNSET
    symbols: dict[str, Any] | UnsetType = UNSET
    cst: dict[str, Any] | UnsetType = UNSET


class Status(Answer, kw_only=True):
    """What is indexed."""

    repos: list[StatusRow]


class VersionRow(Answer, kw_only=True):
    """A version in the store; a damaged one has a `problem` in place of what its manifest says."""

    version: str
    current: bool
    published_at: float | None
    pinned: bool
    note: str | None
    allowed: list[str]
    commit: str | UnsetType | None = UNSET
    dirty: bool | UnsetType = UNSET
    parent: str | UnsetType | None = UNSET
    chunks: int | UnsetType = UNSET
    problem: str | UnsetType = UNSET


class Versions(Answer, kw_only=True):
    """The versions of a repository, the latest published first."""

    repo: str
    versions: list[VersionRow]


class Point(Answer, kw_only=True):
    """An operating point of the vector index, and what was measured there."""

    parameters: str
    nprobe: int | None
    ef_search: int | None
    k_factor: float
    chosen: bool
    queries: int
    ann_recall: float
    low: float
    high: float
    hit: float | None
    rr: float | None
    ndcg: float | None


class Missed(Answer, kw_only=True):
    """A query whose answer was not among the first k."""

    qid: str
    query: str
    label: str
    masked: bool
    uri: str
    symbol: str
    lang: str
    rank: int | None
    hit: float
    recall: float
    rr: float
    ndcg: float


class Evaluation(Answer, kw_only=True):
    """What a version's own evaluation measured."""

    asked: int
    metrics: MetricsDocument
    points: list[Point]
    missed: list[Missed]


class Module(Answer, kw_only=True):
    """A folder or file, or (`rest`) what is left of a folder beside the rows of its parts."""

    prefix: str
    rest: bool
    files: int
    indexed_files: int
    bytes: int
    indexed_bytes: int
    definitions: int
    chunked: int
    covered: int
    asked: int
    found: int
    found_by: dict[str, int]


class Coverage(CoverageDocument, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of the repository is in every index, and which definitions are found by their own queries."""

    modules: list[Module]


class HistoryRow(Answer, kw_only=True):
    """A version in the order of publication; null is not known."""

    version: str
    current: bool
    published_at: float | None
    problem: str | None
    commit: str | None
    dirty: bool
    bytes: int | None
    files: int | None
    chunks: int | None
    evaluation: str | None
    embedder: str | None
    index: str | None
    method: int | None
    k: int | None
    queries: int
    quality: Figures | None
    nearest: Nearest | None
    definitions: Share | None
    found: Share | None
    seconds: float | None
    latency_ms: float | None
    allowed: dict[str, list[str]]
    changed: list[dict[str, Any]]


class Quality(Head, kw_only=True):
    """How good a version is. A part that is null has its reason in `problems`."""

    evaluation: Evaluation | None
    coverage: Coverage | None
    history: list[HistoryRow]
    problems: dict[str, str]


class ErrorBody(Answer, kw_only=True):
    """What went wrong, and what to do about it."""

    code: str
    message: str
    hint: str


class Error(Answer, kw_only=True):
    """The body of every error."""

    error: ErrorBody


class Health(Answer, kw_only=True):
    """That the process answers."""

    status: Literal["ok"]


class Readiness(Answer, kw_only=True):
    """Whether searches are answered."""

    ready: bool
    reason: str
    repositories: list[RepositoryState]


class RepositoryState(Answer, kw_only=True):
    """One repository."""

    repo: str
    state: str
    reason: str
    answers: bool
