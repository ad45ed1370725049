"""Two versions beside each other: the queries that both were asked, and what became of each.

Two versions are asked different queries where their repositories differ, so that their means say little about each other. The
queries that both were asked do: they are compared one by one, and the interval is that of the mean of the differences.

Belongs here: reading two evaluations and setting them side by side. Not here: what differs between the versions (`changes`),
which difference is too much (`pipeline.release.quality_gate`), printing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.evaluation.changes import Change, changes
from pipeline.evaluation.document import FORMAT, HALVES, Interval, MetricsDocument, of_engine, read_metrics
from pipeline.evaluation.intervals import difference_of
from pipeline.schemas import EvalMetrics
from pipeline.store.versions import read_manifest

LEAST_SHARED = 20
"""Fewer queries than that tell nothing."""
LEAST_GROUP = 30
"""Halves and labels with fewer shared queries than that are left out."""
_SEED, _RESAMPLES = 20_261_121, 4000
"""More resamples than of one interval, because the ends lie further out."""
_COLUMNS = ["qid", "query", "label", "masked", "uri", "symbol", "rank", "hit", "rr", "ndcg"]


@dataclass(frozen=True, slots=True)
class Difference:
    """After less before, over `queries` shared queries."""

    queries: int
    before: float
    after: float
    """Mean nDCG of each."""
    ndcg: Interval
    hit: Interval
    mrr: Interval
    wide: Interval
    """`ndcg` with an interval that holds for all halves and labels of the comparison at once."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A query whose nDCG differs. Ranks are those of the first answer; None: not found."""

    qid: str
    query: str
    label: str
    masked: bool
    uri: str
    symbol: str
    before: int | None
    after: int | None
    ndcg_before: float
    ndcg_after: float

    def __str__(self) -> str:
        return f"`{self.query}` ({self.uri}): {_place(self.before)} -> {_place(self.after)}"


def _place(rank: int | None) -> str:
    return "not found" if rank is None else f"rank {rank}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where `incomparable` says why, there are no figures; `changed` is there all the same."""

    incomparable: str = ""
    k: int = 0
    shared: int = 0
    only_before: int = 0
    only_after: int = 0
    overall: Difference | None = None
    by_half: Mapping[str, Difference] = field(default_factory=dict)
    by_label: Mapping[str, Difference] = field(default_factory=dict)
    worse: tuple[Moved, ...] = ()
    """What lost most first."""
    better: tuple[Moved, ...] = ()
    changed: tuple[Change, ...] = ()


def compare(before: Path, after: Path) -> Comparison:
    """Compare the versions (or objects with their manifests) in two folders, which the caller has verified.

    Raises what `read_manifest` does. Evaluations that are not there, or cannot be compared, are a finding.
    """
    return compare_metrics(before, after, changes(read_manifest(before), read_manifest(after)))


def compare_metrics(before: Path, after: Path, changed: tuple[Change, ...] = ()) -> Comparison:
    """The same of two folders with the files of `eval_metrics` alone."""
    try:
        old, new = _read(before), _read(after)
        if reason := _why_not(old, new):
            return Comparison(incomparable=reason, changed=changed)
        assert isinstance(old, MetricsDocument)  # else there was a reason
        return _compare(_details(before), _details(after), old.k, changed)
    except (OSError, msgspec.MsgspecError, pa.ArrowException) as error:
        return Comparison(incomparable=f"an evaluation cannot be read: {error}", changed=changed)


def _read(folder: Path) -> MetricsDocument | None:
    return read_metrics(folder) if (folder / EvalMetrics.FILE).is_file() else None


def _why_not(before: MetricsDocument | None, after: MetricsDocument | None) -> str:
    for which, one in (("first", before), ("second", after)):
        if one is None or one.state == "off" or not one.queries:
            return f"the {which} version was not evaluated"
    assert before is not None and after is not None
    if (before.method, before.version) != (after.method, after.version):
        return f"they were evaluated by different methods, {before.method} and {after.method}"
    if before.version != FORMAT:
        return f"their evaluations have format {before.version}; this program reads {FORMAT}"
    return f"they were evaluated at different k, {before.k} and {after.k}" if before.k != after.k else ""


def _details(folder: Path) -> pa.Table:
    """What the whole engine made of each query, ascending by qid."""
    path = folder / EvalMetrics.DETAILS
    table = pq.read_table(path, columns=[*_COLUMNS, "channel"])
    return of_engine(table).select(_COLUMNS).sort_by("qid")


def _compare(before: pa.Table, after: pa.Table, k: int, changed: tuple[Change, ...]) -> Comparison:
    shared = pc.is_in(before["qid"], value_set=after["qid"].combine_chunks())
    old = before.filter(shared)
    new = after.filter(pc.is_in(after["qid"], value_set=before["qid"].combine_chunks()))
    counts: dict[str, Any] = {
        "k": k, "shared": old.num_rows, "only_before": before.num_rows - old.num_rows,
        "only_after": after.num_rows - new.num_rows, "changed": changed,
    }  # fmt: skip
    if old["qid"].to_pylist() != new["qid"].to_pylist():
        return Comparison(incomparable="an evaluation has a query twice", **counts)
    if not old.num_rows:
        return Comparison(incomparable="they share no query", **counts)
    masks = {"by_half": _halves(new), "by_label": _labels(new)}
    groups = sum(len(named) for named in masks.values())
    worse, better = _moved(old, new)
    return Comparison(
        overall=_difference(old, new, np.ones(old.num_rows, np.bool_), 1),
        by_half={name: _difference(old, new, mask, groups) for name, mask in masks["by_half"].items()},
        by_label={name: _difference(old, new, mask, groups) for name, mask in masks["by_label"].items()},
        worse=worse,
        better=better,
        **counts,
    )


Mask = npt.NDArray[np.bool_]


def _halves(table: pa.Table) -> dict[str, Mask]:
    masked = table["masked"].to_numpy()
    return _enough({name: masked == value for value, name in HALVES.items()})


def _labels(table: pa.Table) -> dict[str, Mask]:
    labels = np.array(table["label"].to_pylist(), dtype=object)
    return _enough({name: labels == name for name in sorted(set(labels.tolist()))})


def _enough(masks: dict[str, Mask]) -> dict[str, Mask]:
    return {name: mask for name, mask in masks.items() if int(mask.sum()) >= LEAST_GROUP}


def _difference(before: pa.Table, after: pa.Table, mask: Mask, groups: int) -> Difference:
    pairs = {name: (before[name].to_numpy()[mask], after[name].to_numpy()[mask]) for name in ("ndcg", "hit", "rr")}
    old, new = pairs["ndcg"]
    return Difference(
        queries=int(mask.sum()),
        before=round(float(old.mean()), 6),
        after=round(float(new.mean()), 6),
        ndcg=difference_of(old, new),
        hit=difference_of(*pairs["hit"]),
        mrr=difference_of(*pairs["rr"]),
        wide=_wide(new - old, groups),
    )


def _wide(gained: npt.NDArray[np.float64], groups: int) -> Interval:
    """The mean of differences [n] with an interval that holds in 95 of 100 cases for `groups` groups together (Bonferroni)."""
    if groups < 2:
        return difference_of(np.zeros_like(gained), gained)
    rows, moved = len(gained), gained[gained != 0]
    # Queries that gained nothing add nothing however often they are drawn: they are drawn as one, the last.
    chances = np.append(np.full(len(moved), 1 / rows), (rows - len(moved)) / rows)
    drawn = np.random.default_rng(_SEED).multinomial(rows, chances, size=_RESAMPLES)
    outside = 2.5 / groups
    low, high = np.percentile(drawn[:, :-1] @ moved / rows, [outside, 100 - outside])
    return Interval(mean=round(float(gained.mean()), 6), low=round(float(low), 6), high=round(float(high), 6))


def _moved(before: pa.Table, after: pa.Table) -> tuple[tuple[Moved, ...], tuple[Moved, ...]]:
    """Queries that lost and gained, what moved most first."""
    gained = after["ndcg"].to_numpy() - before["ndcg"].to_numpy()
    order = np.lexsort((np.arange(len(gained)), -np.abs(gained)))
    rows = order[gained[order] != 0]
    moved = [
        Moved(
            qid=new["qid"], query=new["query"], label=new["label"], masked=new["masked"], uri=new["uri"], symbol=new["symbol"],
            before=old["rank"], after=new["rank"], ndcg_before=old["ndcg"], ndcg_after=new["ndcg"],
        )
        for old, new in zip(before.take(rows).to_pylist(), after.take(rows).to_pylist(), strict=True)
    ]  # fmt: skip
    worse = tuple(one for one in moved if one.ndcg_after < one.ndcg_before)
    return worse, tuple(one for one in moved if one.ndcg_after > one.ndcg_before)
