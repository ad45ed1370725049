"""Plots for metadata: small SVG pictures, written by hand so that equal data give equal bytes.

Belongs here: pictures of an artefact's columns. Not here: how metadata is put together (`metadata`), tables (`highlights`).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.evaluation.document import MetricsDocument, read_metrics
from pipeline.evaluation.heat_map import heat_map
from pipeline.evaluation.report.charts import intervals
from pipeline.evaluation.report.drawing import alone
from pipeline.evaluation.report.quality import main_groups
from pipeline.index.tuning.document import point_of, read_tuning
from pipeline.schemas import Coverage, EvalMetrics, Kind, Tuning

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 300, 56, 16, 16, 44


def recall_over_cost(root: Path) -> str | None:
    """Recall with its interval over vectors scored, point by point, the target as a line; None where nothing was measured.

    A point is hollow where the recall is only a bound: what the visited lists hold.
    """
    tuned = read_tuning(root)
    rows = sorted(pq.read_table(root / Tuning.SWEEP).to_pylist(), key=lambda row: (row["scored"], row["recall"]))
    if not rows:
        return None
    costs = [math.log10(max(1, row["scored"])) for row in rows]
    floor: float = min(*(row["low"] for row in rows), tuned.target) - 0.01
    first, last = math.floor(min(costs) * 10) / 10, math.ceil(max(costs) * 10 + 0.1) / 10

    def x(cost: float) -> float:
        return _LEFT + (cost - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(recall: float) -> float:
        return _TOP + (1 - recall) / (1 - floor) * (_HEIGHT - _TOP - _BOTTOM)

    marks = [_line(_LEFT, y(tuned.target), _WIDTH - _RIGHT, y(tuned.target), "#c33", dash="4 3")]
    marks.append(_text(_LEFT + 4, y(tuned.target) + 14, f"target {tuned.target:g}", "start"))
    for recall in (1.0, (1 + floor) / 2, floor):
        marks += [
            _line(_LEFT, y(recall), _WIDTH - _RIGHT, y(recall), "#ddd"),
            _text(_LEFT - 6, y(recall) + 4, f"{recall:.3f}", "end"),
        ]
    for cost, anchor in ((first, "start"), ((first + last) / 2, "middle"), (last, "end")):
        marks.append(_text(x(cost), _HEIGHT - _BOTTOM + 18, f"{10**cost:,.0f}", anchor))
    marks.append(
        _text(
            (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, f"vectors scored a query (recall@{tuned.k}, {tuned.family})", "middle"
        )
    )
    for row, cost in zip(rows, costs, strict=True):
        point = point_of(row)
        chosen = (point.parameters, point.k_factor) == (tuned.parameters, tuned.k_factor)
        colour = "#c33" if chosen else "#269"
        marks.append(_line(x(cost), y(row["low"]), x(cost), y(row["high"]), "#888"))
        marks.append(
            f'<circle cx="{x(cost):.1f}" cy="{y(row["recall"]):.1f}" '
            f'r="{5 if chosen else 3}" stroke="{colour}" fill="{"#fff" if row["bound"] else colour}">'
            f"<title>{_named(row)}: {row['recall']:.4f}</title></circle>"
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#fff"/>{"".join(marks)}</svg>'
    )


def _named(row: Mapping[str, float | None]) -> str:
    names = (("nprobe", "nprobe"), ("ef_search", "efSearch"), ("k_factor", "k_factor"))
    return ", ".join(f"{shown}={row[name]:g}" for name, shown in names if row[name] is not None)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashed}/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def quality(root: Path) -> str | None:
    """nDCG with its interval: all queries, plain and masked ones, each kind; None where nothing was evaluated."""
    return quality_of(read_metrics(root))


def quality_of(metrics: MetricsDocument) -> str | None:
    """The same of a document."""
    groups = main_groups(metrics)
    title = f"nDCG@{metrics.k} with 95 % intervals, by group of queries"
    return alone(intervals([(name, of.ndcg) for name, of in groups], title)) if groups else None


def as_markdown(svg: str, title: str) -> str:
    """The picture inside of Markdown, with no file beside it."""
    return f"![{title}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


PLOTS: Mapping[type[Kind], tuple[str, Callable[[Path], str | None]]] = {
    Tuning: ("recall_over_cost", recall_over_cost),
    EvalMetrics: ("ndcg_by_group", quality),
    Coverage: ("heat_map", heat_map),
}
"""Kind -> name and maker of its plot."""
