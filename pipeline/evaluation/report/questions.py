"""Sections about single queries: the worst, those that got worse, the slowest; and how long a search takes.

Belongs here: what these sections say. Not here: picking queries (`cases`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluation.report.cases import Case, Place
from pipeline.evaluation.report.figures import NONE, counted, milliseconds
from pipeline.evaluation.report.markup import Child, Html, cut, element, join, name
from pipeline.evaluation.report.parts import Column, more, named, section, table
from pipeline.evaluation.report.reading import Shown

_MOST_MOVED, _MOST_CHANGES = 10, 10
NOT_TELLING = ("code", "tool")
"""Changes that are named only where there are no others."""


def worst(shown: Shown) -> Html:
    """Queries that were answered worst, and what came instead of the answer."""
    if not shown.evaluated:
        return Html()
    if not shown.worst:
        return section("The worst queries", element("p", "Every test query has answers near the top."))
    said = "A few of each kind of query. Ranks count what the query was copied from neither way."
    return section(
        "The worst queries",
        element("p", said),
        element("ol", *(_case(one, shown.metrics.k) for one in shown.worst), class_="queries"),
    )


def _case(one: Case, k: int) -> Html:
    notes = ", ".join([one.label.replace("_", " "), *(["masked"] if one.masked else [])])
    answer = [name(one.symbol), " in ", name(one.uri)] if one.symbol else [name(one.uri)]
    return element(
        "li",
        element("p", element("bdi", cut(one.query, 240), class_="asked"), " ", element("span", notes, class_="soft")),
        named([
            ("answer", join(answer)),
            ("rank", _rank(one.rank, k)),
            ("before it" if one.rank is not None else "instead", _places(one.first)),
            ("by channel", _ranks(one)),
        ]),
    )  # fmt: skip


def _rank(rank: int | None, k: int) -> str:
    if rank is None:
        return "not found"
    return f"{rank}, beyond the first {k}" if rank > k else str(rank)


def _places(places: Sequence[Place]) -> Html | None:
    return join(element("div", *_place(place)) for place in places) if places else None


def _place(place: Place) -> list[Child]:
    where = name(f"{place.uri}:{place.start_line}–{place.end_line}")
    why = element("span", f" has {place.why}", class_="soft") if place.why else None
    return [name(place.name), " in ", where, why] if place.name else [where, why]


def _ranks(one: Case) -> str:
    found = [f"{channel} at {rank}" for channel, rank in one.channels.items() if rank is not None]
    lacking = [channel for channel, rank in one.channels.items() if rank is None]
    if not found:
        return f"found by none of {', '.join(lacking)}" if lacking else "none answered"
    return ", ".join(found) + (f"; not in {', '.join(lacking)}" if lacking else "")


def moved(shown: Shown) -> Html:
    """What is not as in the version before, and the queries that it answered better."""
    compared, before = shown.subject.comparison, name(shown.subject.before or "")
    if compared is None or not (compared.worse or compared.changed):
        return Html()
    worse = counted(len(compared.worse), "query", "queries")
    columns = [Column("query"), Column("answer", "roomy"), Column("before", "n"), Column("now", "n")]
    rows: list[list[Child]] = [
        [element("bdi", cut(one.query, 120)), name(one.uri), _was(one.before), _was(one.after)]
        for one in compared.worse[:_MOST_MOVED]
    ]
    changed = [change for change in compared.changed if change.what not in NOT_TELLING] or list(compared.changed)
    return section(
        "Beside the version before",
        named([("what changed", join(element("div", name(str(change), 160)) for change in changed[:_MOST_CHANGES]))]),
        more(len(changed) - _MOST_CHANGES, "changes"),
        element(
            "p",
            f"{worse} of {compared.shared:,} shared ones got worse and {len(compared.better):,} better, beside ",
            before,
            ".",
        ),
        table("Worse: the rank of the first answer, what lost most first", columns, [("", rows)]),
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
    slow: list[list[Child]] = [
        [element("bdi", cut(one.query, 120)), _took(one.milliseconds), one.most] for one in times.slowest
    ]
    return section(
        "Speed",
        element("p", "Of the machine that evaluated, while it did; warm, one query at a time."),
        table("Time of a search, by stage", columns, [("", rows)]),
        table("The slowest queries", slow_columns, [("", slow)]),
    )


def _took(value: float | None) -> str:
    return NONE if value is None else milliseconds(value)
