"""Sections about figures: quality by group, from version to version, over cost, by channel.

Belongs here: what these sections say. Not here: what is read (`reading`), how it is drawn (`charts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.evaluation.document import Figures, Interval, MetricsDocument, TokenOracle, asked_when
from pipeline.evaluation.history import Entry, by_evaluation
from pipeline.evaluation.report import charts
from pipeline.evaluation.report.figures import NONE, counted, decimal, interval, listed, milliseconds, moment, percent, signed
from pipeline.evaluation.report.markup import Child, Html, element, join, name
from pipeline.evaluation.report.parts import Column, figure, folded, more, section, table
from pipeline.evaluation.report.questions import NOT_TELLING
from pipeline.evaluation.report.reading import Shown

_MOST_MODULES = 15
_MOST_VERSIONS = 30
_LABELS = "kind of query"


def by_group(shown: Shown) -> Html:
    """Every metric with its interval, over all queries and over some of them."""
    metrics = shown.metrics
    if metrics.fused is None:
        return Html()
    k = metrics.k
    columns = [
        Column(""), Column("queries", "n roomy"), Column(f"hit@{k}", "n"), Column(f"recall@{k}", "n roomy"),
        Column("MRR", "n roomy"), Column(f"nDCG@{k}", "n"), Column("95 % interval", "n"),
        Column("nDCG from 0 to 1", "plot roomy"),
    ]  # fmt: skip
    worst = sorted(metrics.by_module.items(), key=lambda item: (item[1].ndcg.mean, item[0]))
    groups = [
        ("", [_row("all", metrics.fused)]),
        ("by half", _rows(metrics.by_half, descending=True)),
        (f"by {_LABELS}", _rows(metrics.by_label)),
        ("by language", _rows(metrics.by_language) if len(metrics.by_language) > 1 else []),
        (
            "by folder, the worst first",
            [_row(name(folder or "/"), of) for folder, of in worst[:_MOST_MODULES]] if len(worst) > 1 else [],
        ),
    ]
    said = (
        "Masked queries are copied from text of their answer, and are asked to an index without that text; plain ones are not."
        if "masked" in metrics.by_half
        else ""
    )
    carried = asked_when(metrics, by_evaluation(shown.subject.history))
    return section(
        "Quality",
        element("p", said) if said else None,
        element("p", f"{carried}.") if carried else None,
        table("How well the test queries are answered", columns, groups),
        more(len(worst) - _MOST_MODULES, "folders"),
        _tokens(metrics.tokens, k),
    )


def main_groups(metrics: MetricsDocument) -> list[tuple[str, Figures]]:
    """All queries, the halves, and each kind of query."""
    if metrics.fused is None:
        return []
    halves = sorted(metrics.by_half.items(), reverse=True)
    return [("all", metrics.fused), *halves, *sorted(metrics.by_label.items())]


def _rows(figures: Mapping[str, Figures], *, descending: bool = False) -> list[list[Child]]:
    return [_row(title, of) for title, of in sorted(figures.items(), reverse=descending)]


def _row(title: str, of: Figures) -> list[Child]:
    shown = title if isinstance(title, Html) else title.replace("_", " ")
    return [
        shown, f"{of.queries:,}", percent(of.hit.mean, 0), percent(of.recall.mean, 0), decimal(of.mrr.mean),
        decimal(of.ndcg.mean), interval(of.ndcg), charts.whisker(of.ndcg),
    ]  # fmt: skip


def _tokens(tokens: TokenOracle | None, k: int) -> Html:
    """Late interaction beside what exact comparison of all tokens would find."""
    if tokens is None:
        return Html()
    columns = [Column(""), Column(f"hit@{k}", "n"), Column("MRR", "n"), Column("95 % interval of MRR", "n roomy")]
    rows = [
        [title, percent(hit.mean), decimal(mrr.mean), interval(mrr)]
        for title, hit, mrr in (
            ("the engine as it is set", tokens.fused_hit, tokens.fused_mrr),
            ("its candidates in the order of their tokens", tokens.rescored_hit, tokens.rescored_mrr),
            ("exact comparison of all tokens", tokens.hit, tokens.mrr),
        )
    ]
    found = (
        f"Of the {k} chunks that exact comparison of all tokens puts first, the channel xtr finds "
        f"{percent(tokens.channel_recall.mean)} ({interval(tokens.channel_recall)}) and the engine's "
        f"candidates hold {percent(tokens.engine_recall.mean)}."
    )
    return join(
        [
            element("h3", "Token by token"),
            element("p", found),
            table(f"Over {counted(tokens.queries, 'query', 'queries')}", columns, [("", rows)]),
        ]
    )


def over_versions(shown: Shown) -> Html:
    """Quality, coverage and size from version to version."""
    entries = [*_entries(shown)]
    left = max(0, len(entries) - _MOST_VERSIONS)
    entries = entries[left:]
    if len(entries) < 2:
        return section("History", element("p", "This is the first version in the store.", class_="soft"))
    this = next((row for row, entry in enumerate(entries) if entry.version == _this(shown)), len(entries) - 1)
    comparable = [entry if _comparable(shown, entry) else None for entry in entries]
    lines = {
        f"nDCG@{shown.metrics.k}, with 95 % intervals": [
            entry.quality.ndcg if entry and entry.quality else None for entry in comparable
        ],
        f"hit@{shown.metrics.k}, with 95 % intervals": [
            entry.quality.hit if entry and entry.quality else None for entry in comparable
        ],
    }
    plain = {
        "share of definitions found": [
            entry.found.part / entry.found.whole if entry and entry.found and entry.found.whole else None
            for entry in comparable
        ],
        "chunks": [float(entry.chunks) if entry.chunks is not None else None for entry in entries],
    }
    pictures = [
        figure(
            title,
            charts.over_versions(
                [(entry.version, of.mean if of else None, of) for entry, of in zip(entries, values, strict=True)], this, title
            ),
        )
        for title, values in lines.items()
        if any(values)
    ] + [
        figure(
            title,
            charts.over_versions(
                [(entry.version, value, None) for entry, value in zip(entries, values, strict=True)], this, title
            ),
        )
        for title, values in plain.items()
        if any(value is not None for value in values)
    ]
    return section(
        "History",
        element("div", *pictures, class_="many"),
        folded(
            f"The {counted(len(entries), 'version')}, the latest first, and what changed",
            _versions(shown, entries),
            more(left, "versions before"),
        ),
    )


def _this(shown: Shown) -> str:
    return shown.subject.version or "this one"


def _entries(shown: Shown) -> Iterator[Entry]:
    """The versions in the store; this one after them where it is not among them."""
    known = shown.subject.history
    yield from known
    if shown.subject.version is None or all(entry.version != shown.subject.version for entry in known):
        metrics, covered = shown.metrics, shown.coverage
        yield Entry(
            _this(shown), False, None, chunks=shown.chunks, files=covered.files.part, method=metrics.method, k=metrics.k,
            queries=metrics.queries, quality=metrics.fused, nearest=metrics.nearest, found=covered.found,
        )  # fmt: skip


def _comparable(shown: Shown, entry: Entry) -> bool:
    return (entry.method, entry.k) == (shown.metrics.method, shown.metrics.k)


def _versions(shown: Shown, entries: Sequence[Entry]) -> Html:
    k = shown.metrics.k
    columns = [
        Column("version", "fixed"), Column("published", "fixed"), Column(f"nDCG@{k}", "n"), Column(f"hit@{k}", "n"),
        Column("found", "n"), Column("chunks", "n"), Column("search", "n roomy"), Column("what changed", "long roomy"),
    ]  # fmt: skip
    rows: list[list[Child]] = []
    for entry in reversed(entries):
        quality = entry.quality if _comparable(shown, entry) else None
        found = entry.found if _comparable(shown, entry) else None
        rows.append([
            element("strong", entry.version) if entry.version == _this(shown) else entry.version,
            moment(entry.published_at) if entry.published_at else NONE,
            f"{decimal(quality.ndcg.mean)} ({interval(quality.ndcg)})" if quality else NONE,
            percent(quality.hit.mean, 0) if quality else NONE,
            percent(found.part / found.whole) if found and found.whole else NONE,
            f"{entry.chunks:,}" if entry.chunks is not None else NONE,
            milliseconds(entry.latency_ms) if entry.latency_ms is not None else NONE,
            _changed(entry),
        ])  # fmt: skip
    return table("Figures of other methods or other k are not shown", columns, [("", rows)])


def _changed(entry: Entry) -> Child:
    if entry.problem:
        return name(entry.problem)
    said = [str(change) for change in entry.changed if change.what not in NOT_TELLING]
    allowed = [f"published in spite of {check}" for check in sorted(entry.allowed)]
    words = [*allowed, *said]
    return join([name("; ".join(words[:4]), 160), f" and {len(words) - 4} more" if len(words) > 4 else None]) if words else NONE


def over_cost(shown: Shown) -> Html:
    """What each operating point finds, and at what cost."""
    if shown.tuning.exact or (shown.metrics.nearest is not None and shown.metrics.nearest.exact):
        return section(
            "Recall and cost",
            element("p", "The vector index is exact: it finds every nearest vector, and there is nothing to choose."),
        )
    if not shown.points:
        return Html()
    k = shown.metrics.k
    columns = [
        Column("operating point"), Column("scored", "n"), Column("search", "n roomy"), Column(f"recall@{k}", "n"),
        Column("95 % interval", "n roomy"),
        Column(f"hit@{k}", "n roomy"), Column("MRR", "n roomy"), Column(f"nDCG@{k}", "n"),
    ]  # fmt: skip
    seen = shown.point_milliseconds
    order = sorted(
        shown.points, key=lambda point: (seen.get(point["name"], point["cost"] or 0), point["ann_recall"], point["name"])
    )
    rows = [_point(point, seen) for point in order]
    chosen = sum(bool(point["chosen"]) for point in shown.points)
    said = (
        "Recall is the share of the nearest of all vectors that a search finds; nDCG is what the whole engine makes of it."
        + (" The hollow dot is the point in use." if chosen else "")
    )
    return section(
        "Recall and cost",
        figure(said, charts.over_cost(shown.points, k, seen, shown.tuning.target)),
        folded(
            f"The {counted(len(rows), 'operating point')}",
            table("The cheapest first; times are of the machine that evaluated", columns, [("", rows)]),
        ),
    )


def _point(point: Mapping[str, Any], seen: Mapping[str, float]) -> list[Child]:
    title = point["name"]
    took = seen.get(title)
    of = Interval(mean=point["ann_recall"], low=point["low"], high=point["high"])
    return [
        join([name(title), " (in use)" if point["chosen"] else None]), f"{point['cost']:,}" if point["cost"] else NONE,
        milliseconds(took) if took is not None else NONE, decimal(of.mean), interval(of), percent(point["hit"], 0),
        decimal(point["rr"]), decimal(point["ndcg"]),
    ]  # fmt: skip


def channels(shown: Shown) -> Html:
    """What each channel finds alone, and what is lost without it."""
    found = shown.metrics.channels
    if not found:
        return Html()
    k = shown.metrics.k
    reach = max([0.02] + [abs(end) for one in found.values() for end in (one.lost.low, one.lost.high)])
    columns = [
        Column(""), Column("alone", "n"), Column("all but it", "n roomy"), Column("lost without it", "n"),
        Column("95 % interval", "n"),
        Column(f"from {signed(-reach)} to {signed(reach)}", "plot roomy"), Column("queries", "roomy"),
    ]  # fmt: skip
    rows: list[list[Child]] = []
    for channel, one in sorted(found.items(), key=lambda item: (-item[1].lost.mean, item[0])):
        broken = channel in shown.metrics.broken
        rows.append([
            join([channel, element("span", " broken", class_="broken") if broken else None]), decimal(one.alone.ndcg.mean),
            decimal(one.without.ndcg.mean), signed(one.lost.mean), interval(one.lost), charts.whisker(one.lost, -reach, reach),
            listed(one.states),
        ])  # fmt: skip
    said = (
        f"nDCG@{k} of each channel alone, of the engine without it, and the difference to the whole engine. A channel whose "
        "loss is below zero does harm; one whose interval holds zero makes no difference that shows."
    )
    return section(
        "Channels", element("p", said), table("What each channel contributes, the most first", columns, [("", rows)])
    )
