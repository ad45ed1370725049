"""All versions that a store has, in the order in which they were published: how good, how large and how fast each is.

Belongs here: collecting what stands in manifests, `build.json` and the history of flips. Not here: comparing two of them query
by query (`comparison`), printing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pipeline.errors import CodeIntelError
from pipeline.evaluation.changes import Change, changes
from pipeline.evaluation.document import Figures, Nearest, Share
from pipeline.evaluation.latency import TOTAL
from pipeline.schemas import EvalMetrics
from pipeline.store import versions
from pipeline.store.layout import Repository
from pipeline.store.versions import ManifestDocument


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. What is not known of it is None; where its manifest cannot be read, `problem` says why."""

    version: str
    current: bool
    published_at: float | None
    """When it first became current, seconds since the epoch, UTC; it may have been so again since."""
    problem: str | None = None
    commit: str | None = None
    dirty: bool = False
    bytes: int | None = None
    files: int | None = None
    chunks: int | None = None
    evaluation: str | None = None
    """The key of its `eval_metrics`."""
    embedder: str | None = None
    index: str | None = None
    method: int | None = None
    """Quality is comparable among equal methods and k."""
    k: int | None = None
    queries: int = 0
    quality: Figures | None = None
    """None where the version was not evaluated."""
    nearest: Nearest | None = None
    definitions: Share | None = None
    found: Share | None = None
    seconds: float | None = None
    """From the start of the run that published it; what could be reused cost nothing."""
    latency_ms: float | None = None
    """The median of a search on the machine that evaluated it."""
    allowed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What was published in spite of the gate: check -> problems."""
    changed: tuple[Change, ...] = ()
    """Against the version before it in this list that can be read."""


def history(repository: Repository) -> tuple[Entry, ...]:
    """Every version in the store, the first published first. Damage of one is told of that one. Never raises for damage."""
    current = versions.current_or_none(repository)
    entries: list[Entry] = []
    before: ManifestDocument | None = None
    for name, facts, at in _in_order(repository):
        entry, manifest = _entry(repository, name, facts, before, at, current=name == current)
        entries.append(entry)
        before = manifest or before
    return tuple(entries)


def by_evaluation(entries: Sequence[Entry]) -> dict[str, str]:
    """The first version of each evaluation, by the evaluation's key."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.evaluation is not None:
            found.setdefault(entry.evaluation, entry.version)
    return found


def _in_order(repository: Repository) -> list[tuple[str, Mapping[str, Any], float | None]]:
    """Versions with their build facts, by the moment when each first became current: a repaired one has a new `build.json`."""
    first: dict[str, float] = {}
    for flip in versions.history(repository):
        first.setdefault(flip.version, flip.at)
    known = list(versions.newest_first(repository, versions.version_names(repository)))
    moments = [(name, facts, first.get(name, facts.get("published_at"))) for name, facts in reversed(known)]
    return sorted(moments, key=lambda one: one[2] or 0.0)


def _entry(
    repository: Repository,
    name: str,
    facts: Mapping[str, Any],
    before: ManifestDocument | None,
    at: float | None,
    *,
    current: bool,
) -> tuple[Entry, ManifestDocument | None]:
    try:
        manifest = versions.read_manifest(repository.versions / name)
    except CodeIntelError as error:
        return Entry(name, current, at, problem=error.message), None
    summed, evaluated = manifest.evaluation, manifest.artefacts.get(EvalMetrics.asset)
    made = Entry(
        name, current, at,
        commit=manifest.commit, dirty=manifest.dirty, bytes=sum(stored.bytes for stored in manifest.all_files()),
        files=manifest.counts.get("indexed_files"), chunks=manifest.counts.get("chunks"),
        embedder=manifest.embedder.get("name"), index=manifest.faiss.get("family"),
        evaluation=evaluated.key if evaluated is not None else None,
        method=summed.get("method"), k=summed.get("k"), queries=int(summed.get("queries") or 0),
        quality=_as(summed.get("fused"), Figures), nearest=_as(summed.get("nearest"), Nearest),
        definitions=_as(summed.get("definitions"), Share), found=_as(summed.get("found"), Share),
        seconds=facts.get("seconds"), latency_ms=_latency(facts), allowed=versions.allowed_of(facts),
        changed=changes(before, manifest) if before is not None else (),
    )  # fmt: skip
    return made, manifest


def _as(value: Any, kind: Any) -> Any:
    """A part of the summary; None where there is none, or where it has another form than now."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError:
        return None


def _latency(facts: Mapping[str, Any]) -> float | None:
    """The median that was seen when `eval_metrics` was built, where that is known."""
    seen: Any = facts
    for name in ("evaluated", "search_latency", "stages", TOTAL, "median_ms"):
        seen = seen.get(name) if isinstance(seen, dict) else None
    return float(seen) if isinstance(seen, int | float) else None
