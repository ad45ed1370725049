"""The pictures of a report: means with intervals, versions after each other, recall over cost.

Belongs here: what is drawn. Not here: lines and dots (`drawing`), tables (`sections`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.document import Interval
from pipeline.evaluation.report.drawing import Axis, area, dot, line, path, picture, ticks, words
from pipeline.evaluation.report.figures import decimal, interval, milliseconds
from pipeline.evaluation.report.markup import Html, cut


def whisker(of: Interval, first: float = 0.0, last: float = 1.0, width: int = 150) -> Html:
    """A mean with its interval on a scale, as high as a line of a table. Where 0 lies between the ends it is marked."""
    x, middle = Axis(first, last, 5, width - 5), 10
    marks = [line(5, middle, width - 5, middle)]
    if first < 0 < last:
        marks.append(line(x(0), 3, x(0), 17, "axis"))
    low, high = (min(max(end, first), last) for end in (of.low, of.high))
    kind = " bad" if first < 0 and of.high < 0 else ""
    marks += [
        line(x(low), middle, x(high), middle, f"bar{kind}"),
        dot(x(min(max(of.mean, first), last)), middle, 3.5, f"dot{kind}"),
    ]
    return picture(width, 20, f"{decimal(of.mean)}, {interval(of)}", marks)


def intervals(rows: Sequence[tuple[str, Interval]], title: str) -> Html:
    """Named means with intervals between 0 and 1, one under the other."""
    left, width, step = 170, 560, 22
    height = 26 + step * len(rows)
    x = Axis(0, 1, left, width - 20)
    marks = [
        mark
        for value in (0.0, 0.25, 0.5, 0.75, 1.0)
        for mark in (line(x(value), 4, x(value), height - 20), words(x(value), height - 6, f"{value:g}", "middle"))
    ]
    for row, (name, one) in enumerate(rows):
        y = 16 + step * row
        marks += [
            words(left - 10, y + 4, cut(name, 26), "end", "strong"),
            line(x(one.low), y, x(one.high), y, "bar"),
            dot(x(one.mean), y, 4, title=f"{name}: {decimal(one.mean)}, {interval(one)}"),
        ]
    return picture(width, height, title, marks)


def over_versions(values: Sequence[tuple[str, float | None, Interval | None]], this: int, title: str) -> Html:
    """One figure from version to version, with the place of this one; a gap where a version has none."""
    width, height, left, right, top, bottom = 320, 120, 44, 14, 12, 22
    ends = [end for _, value, of in values if value is not None for end in ((of.low, of.high) if of else (value,))]
    low, high = min(ends), max(ends)
    room = max((high - low) * 0.15, 0.01 * max(abs(high), 0.01))
    first, last = max(0.0, low - room), high + room
    x, y = Axis(0, max(1, len(values) - 1), left + 8, width - right), Axis(first, last, height - bottom, top)
    marks = []
    for value in ticks(first, last, 3):
        marks += [line(left, y(value), width - right, y(value)), words(left - 6, y(value) + 4, _short(value), "end")]
    for run in _runs(values):
        if len(run) > 1 and all(of for _, _, of in run):
            up = [(x(row), y(of.high)) for row, _, of in run if of]
            down = [(x(row), y(of.low)) for row, _, of in run if of]
            marks.append(area([*up, *reversed(down)]))
        marks.append(path([(x(row), y(value)) for row, value, _ in run]))
        marks += [
            dot(x(row), y(value), 4.5 if row == this else 2.5, title=f"{values[row][0]}: {_short(value)}")
            for row, value, _ in run
        ]
    marks.append(words(x(this), height - 6, "this version", "end" if this > len(values) / 2 else "start", "strong"))
    return picture(width, height, title, marks)


Run = list[tuple[int, float, Interval | None]]


def _runs(values: Sequence[tuple[str, float | None, Interval | None]]) -> list[Run]:
    """Neighbours that have a value, with their places."""
    runs: list[Run] = [[]]
    for row, (_, value, of) in enumerate(values):
        if value is not None:
            runs[-1].append((row, value, of))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def over_cost(points: Sequence[Mapping[str, Any]], k: int, milliseconds_of: Mapping[str, float], bound: float | None) -> Html:
    """Recall of the nearest vectors with its interval, and under it nDCG of the engine, over what a search costs.

    Over the observed time of a vector search where that is known of every point, else over vectors scored, else point by point.
    """
    width, left, right, top, panel, gap, foot = 640, 52, 84, 22, 160, 40, 42
    height = top + 2 * panel + gap + foot
    values, unit = _costs(points, milliseconds_of)
    rows = sorted(zip(values, points, strict=True), key=lambda pair: (pair[0], pair[1]["ann_recall"]))
    first, last = rows[0][0], rows[-1][0]
    room = max((last - first) * 0.05, 0.05)
    x = Axis(first - room, last + room, left, width - right)
    recall = _scale([end for point in points for end in (point["low"], point["high"])] + [bound or 1.0], top + panel, top)
    ndcg = _scale([point["ndcg"] for point in points], height - foot, height - foot - panel, least=0.02)
    marks = [*_grid(recall, left, width - right), *_grid(ndcg, left, width - right)]
    marks += [words(left, top - 9, f"recall@{k}", kind="strong"), words(left, ndcg.end - 9, f"nDCG@{k}", kind="strong")]
    if bound:
        marks += [line(left, recall(bound), width - right, recall(bound), "bound")]
        marks.append(words(width - right + 6, recall(bound) + 4, f"target {bound:g}"))
    for cost, point in rows:
        marks += _point(point, x(cost), recall, ndcg, milliseconds_of.get(point["name"]))
    for value in dict.fromkeys((first, (first + last) / 2, last) if last - first > 0.1 else (first,)):
        marks.append(words(x(value), height - foot + 18, _cost_label(value, unit), "middle"))
    marks.append(words((left + width - right) / 2, height - 6, unit, "middle", "strong"))
    return picture(width, height, f"Recall and nDCG over {unit}, {len(points)} operating points", marks)


def _scale(values: Sequence[float], bottom: float, top: float, least: float = 0.005) -> Axis:
    """Just around the values."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, least)
    return Axis(max(0.0, low - room), min(1.0, high + room), bottom, top)


def _grid(y: Axis, left: float, right: float) -> list[Html]:
    return [
        mark
        for value in ticks(y.first, y.last, 4)
        for mark in (line(left, y(value), right, y(value)), words(left - 6, y(value) + 4, f"{value:g}", "end"))
    ]


def _point(point: Mapping[str, Any], at: float, recall: Axis, ndcg: Axis, took: float | None) -> list[Html]:
    """One operating point in both panels."""
    named = point["name"] + (f", {milliseconds(took)}" if took is not None else "")
    radius, kind = (6, "hollow") if point["chosen"] else (3, "dot")
    marks = [
        line(at, recall(point["low"]), at, recall(point["high"]), "bar"),
        dot(at, recall(point["ann_recall"]), radius, kind, title=f"{named}: recall {decimal(point['ann_recall'])}"),
        dot(at, ndcg(point["ndcg"]), radius, kind, title=f"{named}: nDCG {decimal(point['ndcg'])}"),
    ]
    if point["chosen"]:
        # Under the dots.
        marks.insert(0, line(at, recall.end, at, ndcg.start, "axis"))
        marks.append(words(at + 6, ndcg.start - 6, "in use"))
    return marks


def _costs(points: Sequence[Mapping[str, Any]], milliseconds_of: Mapping[str, float]) -> tuple[list[float], str]:
    if all(milliseconds_of.get(point["name"], 0) > 0 for point in points):
        return [math.log10(milliseconds_of[point["name"]]) for point in points], "milliseconds of a vector search, as observed"
    if all(point["cost"] for point in points):
        return [math.log10(point["cost"]) for point in points], "vectors scored for a query"
    order = sorted(range(len(points)), key=lambda row: (points[row]["ann_recall"], row))
    return [float(order.index(row)) for row in range(len(points))], "operating points, by recall"


def _cost_label(value: float, unit: str) -> str:
    if unit.startswith("operating"):
        return ""
    return f"{10**value:,.0f}" if unit.startswith("vectors") or value >= 1 else f"{10**value:.2g}"
