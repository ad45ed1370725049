"""`metrics.json` and `coverage.json`: what an evaluation comes to.

Belongs here: the shape of both files, what the manifest keeps of them, and names in the tables behind them. Not here: how
figures come about (`metrics`, `evaluator`, `cover`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schemas import Coverage, EvalMetrics

FORMAT = 2
FUSED = "fused"
"""What the whole engine is called among the channels."""
HALVES = {False: "plain", True: "masked"}
"""What the halves of queries are called, by whether they are masked."""
METHOD = 1
"""Rises whenever queries, judgements or metrics change their meaning: figures of different methods are not compared."""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A mean with the ends of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics over some queries, each at `k`."""

    queries: int
    hit: Interval
    recall: Interval
    mrr: Interval
    ndcg: Interval


class ChannelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel finds alone, and what the engine finds without it."""

    alone: Figures
    without: Figures
    lost: Interval
    """nDCG of the engine less that without the channel, paired by query."""
    states: dict[str, int]
    """How often it was `answered`, `empty`, `silent`, `off` or `broken`."""


class Nearest(msgspec.Struct, frozen=True, kw_only=True):
    """What the operating point finds of the k nearest of *all* vectors, by distance."""

    parameters: str
    k_factor: float
    exact: bool
    recall: Interval
    queries: int


class TokenOracle(msgspec.Struct, frozen=True, kw_only=True):
    """Beside exact MaxSim over all tokens (`index.xtr.oracle`), over `queries` queries."""

    queries: int
    hit: Interval
    mrr: Interval
    """Of the oracle's own ranking."""
    channel_recall: Interval
    """The share of the oracle's k best that the channel `xtr` finds."""
    engine_recall: Interval
    """The share of them that is in the engine's pool."""
    rescored_hit: Interval
    rescored_mrr: Interval
    """Of the engine's candidates in the order of their tokens."""
    fused_hit: Interval
    fused_mrr: Interval
    """Of the engine as it is set."""


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Sampled chunks embedded once more, beside their stored vectors."""

    sample: int
    least: float
    """The lowest cosine."""


class TwinFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The index without the text that masked queries were copied from (`twin`)."""

    queries: int
    """Masked ones."""
    chunks: int
    """That lost text."""
    missed: int
    """Queries whose text was found nowhere, so that nothing is hidden from them."""
    without: list[str]
    """Channels that it has not: masked queries are asked without them."""


class MetricsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`metrics.json`. Where the setting `eval_queries` is 0, `state` is `off` and there are no figures."""

    version: int
    method: int
    state: str
    k: int
    queries: int
    asked: int
    """Queries that were asked in this evaluation; what became of the others was carried over from earlier ones."""
    since: dict[str, int]
    """Those carried over, by the key of the evaluation that asked them."""
    fused: Figures | None
    by_half: dict[str, Figures]
    """`plain` and `masked` queries."""
    by_label: dict[str, Figures]
    by_language: dict[str, Figures]
    by_module: dict[str, Figures]
    """By the first folders of the files, as deep as there are enough queries."""
    channels: dict[str, ChannelFigures]
    nearest: Nearest | None
    tokens: TokenOracle | None
    agreement: Agreement | None
    twin: TwinFacts | None
    broken: dict[str, str]
    """Channels that should have answered and could not, with the reason."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a whole."""

    part: int
    whole: int


class CoverageDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`coverage.json`: the whole repository; what is below it is in the tables."""

    version: int
    k: int
    files: Share
    """Indexed of all that are not ignored."""
    bytes: Share
    """Those inside of chunks, of all bytes of these files."""
    definitions: Share
    """Those that lie inside of chunks which are in every index, of all."""
    found: Share
    """Found within k, of those asked for."""
    asked: int
    """Definitions that were asked for in this build; the answers of the others were carried over from earlier ones."""
    skipped: dict[str, int]
    """Files by the reason why they are not indexed, the ignored ones among them."""
    missed: dict[str, int]
    """Definitions that were asked for, by the reason why they were not found."""
    by_language: dict[str, Share]
    """Found of asked."""
    by_kind: dict[str, Share]
    by_channel: dict[str, Share]
    """What each channel alone has within k, of all asked for; channels that are off are left out."""
    chunked: Share | None = None
    """Definitions that lie inside of chunks, of all."""
    indexes: dict[str, Share] = msgspec.field(default_factory=dict)
    """Those of all that are chunked with every chunk in this index, by index."""


_MOST_NAMED = 2


def asked_when(document: MetricsDocument, versions: Mapping[str, str]) -> str:
    """Which queries were asked in this build and since when the others were carried over; nothing where all were asked.
    `versions` by the key of their evaluation."""
    if not document.since:
        return ""
    told: Counter[str] = Counter()
    for key, count in document.since.items():
        told[versions.get(key, "")] += count
    named = [(version, count) for version, count in told.most_common() if version][:_MOST_NAMED]
    others = sum(document.since.values()) - sum(count for _, count in named)
    from_them = [f"{count:,} from {version}" for version, count in named] + [f"{others:,} from others"] * (others > 0)
    return (
        f"{document.asked:,} of {document.queries:,} queries were asked in this build; the rest is carried over from earlier "
        f"ones: {', '.join(from_them)}"
    )


def of_engine(rows: pa.Table) -> pa.Table:
    """Of rows of `eval_details` or `eval_pool` those of the whole engine."""
    return rows.filter(pc.equal(rows["channel"].cast(pa.string()), FUSED))


def read_metrics(folder: Path) -> MetricsDocument:
    """`metrics.json` of an object or a version. Raises OSError and `msgspec.MsgspecError`."""
    return msgspec.json.decode((folder / EvalMetrics.FILE).read_bytes(), type=MetricsDocument)


def read_coverage(folder: Path) -> CoverageDocument:
    """`coverage.json` of an object or a version. Raises OSError and `msgspec.MsgspecError`."""
    return msgspec.json.decode((folder / Coverage.FILE).read_bytes(), type=CoverageDocument)


def summary(metrics: Path, coverage: Path) -> dict[str, Any]:
    """What a manifest keeps of both."""
    measured, covered = read_metrics(metrics), read_coverage(coverage)
    kept: dict[str, Any] = msgspec.to_builtins({
        "state": measured.state, "method": measured.method, "k": measured.k, "queries": measured.queries,
        "fused": measured.fused, "nearest": measured.nearest, "definitions": covered.definitions, "found": covered.found,
    })  # fmt: skip
    return kept
