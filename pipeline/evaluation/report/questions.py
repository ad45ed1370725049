"""Sections about single queries: the worst, those that got worse, the slowest; and how long a search takes.

Belongs here: what these sections say. Not here: picking queries (`cases`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluation.comparison import Moved
from pipeline.evaluation.report.cases import Case, Place
from pipeline.evaluation.report.figures import NONE, counted, decimal, milliseconds
from pipeline.evaluation.report.markup import Child, Html, element, join, name
from pipeline.evaluation.report.parts import Column, more, named, section, table
from pipeline.evaluation.report.reading import Shown

_MOST_MOVED = 10


def worst(shown: Shown) -> Html:
    """Queries that were answered worst, and what came instead of the answer."""
    if not shown.evaluated:
        return Html()
    if not shown.worst:
        return section("The worst queries", element("p", "Every test query has its answers at the top."))
    said = "A few of each kind of query. Ranks count what the query was copied from neither way."
    return section(
        "The worst queries",
        element("p", said),
        element("ol", *(_case(one, shown.metrics.k) for one in shown.worst), class_="queries"),
    )


def _case(one: Case, k: int) -> Html:
    notes = ", ".join([one.label.replace("_", " "), *(["masked"] if one.masked else [])])
    return element(
        "li",
        element("p", name(one.query, 200), " ", element("span", notes, class_="soft"), class_="asked"),
        named([
            ("answer", join([name(one.symbol or one.uri), " in " if one.symbol else None, name(one.uri) if one.symbol else None])),
            ("rank", _rank(one.rank, k, one.ndcg)),
            ("before it" if one.rank is not None else "instead", _places(one.first)),
            ("by channel", _ranks(one)),
        ]),
    )  # fmt: skip


def _rank(rank: int | None, k: int, ndcg: float) -> str:
    if rank is None:
        return "not found"
    return f"{rank}, beyond the first {k}" if rank > k else f"{rank} (nDCG {decimal(ndcg)})"


def _places(places: Sequence[Place]) -> Html | None:
    if not places:
        return None
    return join(element("div", name(one.name) if one.name else None, " " if one.name else None, name(f"{one.uri}:{one.start_line}-{one.end_line}"),
                        element("span", f" {one.why}", class_="soft") if one.why else None) for one in places)  # fmt: skip


def _ranks(one: Case) -> str:
    if not one.channels:
        return "none answered"
    return ", ".join(f"{channel} {NONE if rank is None else rank}" for channel, rank in one.channels.items())


def moved(shown: Shown) -> Html:
    """Queries that the version before answered better."""
    compared = shown.subject.comparison
    if compared is None or not compared.worse:
        return Html()
    columns = [Column("query"), Column("answer", "roomy"), Column("before", "n"), Column("now", "n")]
    rows: list[list[Child]] = [
        [name(one.query), name(one.uri), _was(one.before), _was(one.after)] for one in compared.worse[:_MOST_MOVED]
    ]
    what = join(
        [
            f"{counted(len(compared.worse), 'query', 'queries')} of {compared.shared:,} shared got worse, {len(compared.better):,} better, since ",
            name(shown.subject.before or ""),
            ".",
        ]
    )
    caption = "The rank of the first answer, what lost most first"
    return section(
        "Worse than before",
        element("p", what),
        table(caption, columns, [("", rows)]),
        more(len(compared.worse) - _MOST_MOVED, "queries"),
    )


def _was(rank: int | None) -> str:
    return "not found" if rank is None else str(rank)


def speed(shown: Shown) -> Html:
    """How long searches took, by stage, and which took longest."""
    times = shown.times
    if not times.stages and not times.slowest:
        return (
            Html()
            if not shown.evaluated
            else section("Speed", element("p", "Not known: the evaluation was made before, or elsewhere.", class_="soft"))
        )
    columns = [Column(""), Column("median", "n"), Column("95th percentile", "n")]
    rows: list[list[Child]] = [
        [stage.replace("_", " "), _took(one.median), _took(one.p95)] for stage, one in times.stages.items()
    ]
    slow_columns = [Column("query"), Column("took", "n"), Column("most of it", "roomy")]
    slow: list[list[Child]] = [[name(one.query), _took(one.milliseconds), one.most] for one in times.slowest]
    return section(
        "Speed",
        element("p", "Of the machine that evaluated, while it did; warm, one query at a time."),
        table("Time of a search, by stage", columns, [("", rows)]),
        table("The slowest queries", slow_columns, [("", slow)]),
    )


def _took(value: float | None) -> str:
    return NONE if value is None else milliseconds(value)
