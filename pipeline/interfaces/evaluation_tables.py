"""How an evaluation is printed: figures with intervals, by group and by channel, points, times, and the worst queries.

Belongs here: tables for people. Not here: where the figures come from (`evaluation`), two versions beside each other
(`comparison_tables`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from pipeline.interfaces.output import console, counts, print_table, print_warning, printable

if TYPE_CHECKING:
    from pipeline.evaluation.document import ChannelFigures, Figures, Interval, MetricsDocument, Nearest, TokenOracle, TwinFacts
    from pipeline.interfaces.evaluation import Report

_METRICS = ("hit", "recall", "mrr", "ndcg")
_MOST_GROUPS = 8
"""Languages, labels or modules in one table: those with most queries, of modules the worst."""
_MOST_WORST, _MOST_FIRST = 5, 20
_QUERY_CHARACTERS, _GROUP_CHARACTERS = 100, 22


def share(value: float, digits: int = 3) -> str:
    """`.812`, `1.00`."""
    text = f"{value:.{digits}f}"
    return text[:-1] if text.startswith("1.") else text.removeprefix("0")


def with_ends(one: Interval) -> str:
    """`.812 .77–.85`."""
    return f"{share(one.mean)} {share(one.low, 2)}–{share(one.high, 2)}"


def signed(one: Interval) -> str:
    """`+.024 (+.010 to +.038)`."""
    return f"{_signed(one.mean)} ({_signed(one.low)} to {_signed(one.high)})"


def _signed(value: float) -> str:
    text = f"{value:+.3f}"
    return text[0] + text[1:].removeprefix("0") if float(text) else ".000"


def shortened(query: str, most: int = _QUERY_CHARACTERS) -> str:
    """A query on one line, and no more of it than reads well."""
    text = printable(" ".join(query.split()))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def print_report(report: Report) -> None:
    """All of one evaluation."""
    document = report.document
    print_lines(f"{report.repo} {report.version}: {_what(report)}", 0)
    if report.carried:
        print_lines(report.carried, 0)
    if document.fused is not None:
        typer.echo()
        _print_groups(document)
    if document.channels:
        typer.echo()
        _print_channels(document.channels)
    if document.nearest is not None:
        typer.echo()
    for line in (*_twin_lines(document.twin), *_nearest_lines(document.nearest, document.k), *_agreement_lines(document)):
        print_lines(line, 0)
    if len(report.points) > 1:
        typer.echo()
        _print_points(report)
    if document.tokens is not None:
        typer.echo()
        _print_tokens(document.tokens, document.k, judged=document.fused is not None)
    if report.times:
        typer.echo()
        _print_times(report.times)
    if report.first:
        typer.echo()
        _print_first(report.first)
    if document.fused is not None:
        typer.echo()
        _print_worst(report)
    for name, reason in document.broken.items():
        print_warning(f"the channel `{name}` could not answer: {reason}")


def _what(report: Report) -> str:
    asked = counts(report.asked, "query", "queries")
    whose = f"{asked} of {printable(report.file)}" if report.file else asked
    if report.unjudged and report.document.fused is not None:
        whose += f" ({report.unjudged:,} of them without answers)"
    return f"{whose}, {'asked now' if report.times else 'asked at its build'}; the first {report.document.k} count"


def _print_groups(document: MetricsDocument) -> None:
    """The whole engine, in all and by what queries are."""
    assert document.fused is not None
    k, whole = document.k, document.fused
    names = (f"hit@{k}", f"recall@{k}", f"MRR@{k}", f"nDCG@{k}")
    for name, metric in zip(names, _METRICS, strict=True):
        one: Interval = getattr(whole, metric)
        typer.echo(f"{name:<{len(names[1]) + 2}}{share(one.mean)} ({share(one.low)} to {share(one.high)})")
    rows: list[Sequence[str]] = []
    for title, members in (
        ("by half", list(document.by_half.items())),
        ("by label", _largest(document.by_label)),
        ("by language", _largest(document.by_language)),
        ("worst modules", _worst(document.by_module)),
    ):
        # One group is all there is.
        if len(members) > 1:
            rows += [(title, *[""] * 5), *(_row(f"  {_group(name)}", figures) for name, figures in members)]
    if rows:
        typer.echo()
        print_table(["", "queries", *names], rows, right=["queries", *names[:3]])


def _row(name: str, figures: Figures) -> Sequence[str]:
    means = [share(getattr(figures, metric).mean) for metric in _METRICS[:3]]
    return (printable(name), f"{figures.queries:,}", *means, with_ends(figures.ndcg))


def _group(name: str) -> str:
    """A name that leaves room for its figures; of a folder the last parts say most."""
    if len(name) > _GROUP_CHARACTERS:
        return f"…{name[1 - _GROUP_CHARACTERS :]}"
    return name or "(other)"


def _largest(groups: Mapping[str, Figures]) -> list[tuple[str, Figures]]:
    return sorted(groups.items(), key=lambda item: (-item[1].queries, item[0]))[:_MOST_GROUPS]


def _worst(groups: Mapping[str, Figures]) -> list[tuple[str, Figures]]:
    return sorted(groups.items(), key=lambda item: (item[1].ndcg.mean, item[0]))[:_MOST_GROUPS]


def _print_channels(channels: Mapping[str, ChannelFigures]) -> None:
    columns = ["channel", "answered", "nDCG alone", "nDCG without it", "lost without it"]
    print_table(
        columns,
        [
            (
                name, share(one.states.get("answered", 0) / sum(one.states.values())), with_ends(one.alone.ndcg),
                with_ends(one.without.ndcg), signed(one.lost),
            )
            for name, one in sorted(channels.items(), key=lambda item: (-item[1].lost.mean, item[0]))
        ],
        right=["answered"],
    )  # fmt: skip


def _twin_lines(twin: TwinFacts | None) -> Iterable[str]:
    if twin is None:
        return
    notes = [
        f"{twin.missed:,} texts were not found there" if twin.missed else "",
        *(f"without {name}" for name in twin.without),
    ]
    words = "; ".join(filter(None, (f"{counts(twin.chunks, 'chunk')} differ", *notes)))
    yield f"masked queries: asked to a copy without the text that they are made of; {words}"


def _nearest_lines(nearest: Nearest | None, k: int) -> Iterable[str]:
    if nearest is None:
        return
    how = "exact search" if nearest.exact else f"{nearest.parameters}, k-factor {nearest.k_factor:g}"
    ends = f"({share(nearest.recall.low)} to {share(nearest.recall.high)})"
    yield f"vectors: {share(nearest.recall.mean)} {ends} of the {k} nearest, by {how}"


def _agreement_lines(document: MetricsDocument) -> Iterable[str]:
    if document.agreement is not None and document.agreement.sample:
        sample = counts(document.agreement.sample, "chunk")
        yield f"vectors: {sample} embedded once more are as stored (least cosine {document.agreement.least:.4f})"


def _print_points(report: Report) -> None:
    k = report.document.k
    judged = ("hit", "rr", "ndcg") if report.document.fused is not None else ()
    columns = ["", "point", "k-factor", f"nearest@{k}", *(f"{name}@{k}" for name in ("hit", "MRR", "nDCG") if judged)]
    print_table(
        columns,
        [
            (
                "→" if row["chosen"] else "", row["parameters"] or "–", f"{row['k_factor']:g}",
                f"{share(row['ann_recall'])} {share(row['low'], 2)}–{share(row['high'], 2)}",
                *(share(row[name]) for name in judged),
            )
            for row in report.points
        ],
        right=["k-factor", *columns[4:]],
    )  # fmt: skip


def _print_tokens(tokens: TokenOracle, k: int, *, judged: bool) -> None:
    rows = [
        ("exact MaxSim over all chunks", with_ends(tokens.hit), with_ends(tokens.mrr)),
        ("candidates of the engine, by tokens", with_ends(tokens.rescored_hit), with_ends(tokens.rescored_mrr)),
        ("the engine as it is set", with_ends(tokens.fused_hit), with_ends(tokens.fused_mrr)),
    ]
    if judged:
        print_table([f"tokens, {counts(tokens.queries, 'query', 'queries')}", f"hit@{k}", f"MRR@{k}"], rows)
    print_lines(
        f"of the {k} best by exact MaxSim, the channel `xtr` finds {with_ends(tokens.channel_recall)}, "
        f"and the engine's pool has {with_ends(tokens.engine_recall)}",
        0,
    )


def _print_times(times: Sequence[Mapping[str, Any]]) -> None:
    columns = ["milliseconds", "median", "p95", "measured"]
    print_table(
        columns,
        [(row["stage"], f"{row['median_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['searches']:,}") for row in times],
        right=columns[1:],
    )


def _print_first(first: Sequence[Mapping[str, Any]]) -> None:
    """What comes first for queries without answers."""
    for row in first[:_MOST_FIRST]:
        print_lines(shortened(row["query"]), 0)
        place = (
            f"{row['uri']}:{row['start_line']}-{row['end_line']}  {row['kind']} {row['name']}" if row["uri"] else "no result"
        )
        print_lines(place, 4, style="dim")
    if (more := len(first) - _MOST_FIRST) > 0:
        typer.echo(f"and {counts(more, 'more query', 'more queries')}; --json has all")


def _print_worst(report: Report) -> None:
    k = report.document.k
    missed = sum(row["hit"] == 0 for row in report.queries)
    if not missed:
        typer.echo(f"every query finds an answer within {k}")
        return
    typer.echo(f"{missed:,} of {counts(len(report.queries), 'query finds', 'queries find')} no answer within {k}, for example")
    for row in report.examples(_MOST_WORST):
        rank = "not found" if row["rank"] is None else f"rank {row['rank']:,}"
        print_query(row["query"], rank, row["label"], f"{row['uri']} {row['symbol']}".strip(), masked=row["masked"])


def print_query(query: str, rank: str, label: str, looked_for: str, *, masked: bool) -> None:
    """A query, and below it what became of it and what it looks for."""
    print_lines(shortened(query), 2)
    print_lines(" · ".join(filter(None, (rank, label + (", masked" if masked else ""), looked_for))), 6, style="dim")


def print_lines(text: str, indent: int, style: str = "") -> None:
    """Text as far to the right as `indent`, also where it goes on in the next line."""
    from rich.text import Text

    out, space = console(), " " * indent
    for line in textwrap.wrap(
        printable(text), max(out.width, 40), initial_indent=space, subsequent_indent=space, break_on_hyphens=False
    ):
        out.print(Text(line, style=style))
