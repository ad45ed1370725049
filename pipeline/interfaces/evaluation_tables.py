"""How an evaluation is printed: figures with intervals, by group and by channel, points, times, and the worst queries.

Belongs here: tables for people. Not here: where the figures come from (`evaluation`), two versions beside each other
(`comparison_tables`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from pipeline.interfaces.output import counts, print_table, print_warning, printable

if TYPE_CHECKING:
    from pipeline.evaluation.document import ChannelFigures, Figures, Interval, MetricsDocument, Nearest, TokenOracle
    from pipeline.interfaces.evaluation import Report

_METRICS = ("hit", "recall", "mrr", "ndcg")
_MOST_GROUPS = 8
"""Languages, labels or modules in one table: those with most queries, of modules the worst."""
_MOST_WORST, _MOST_FIRST = 5, 20
_QUERY_CHARACTERS = 100


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
    from rich.text import Text

    from pipeline.interfaces.output import console

    document = report.document
    console().print(Text(f"{report.repo} {report.version}: {_what(report)}"))
    if document.fused is not None:
        typer.echo()
        _print_groups(document)
    if document.channels:
        typer.echo()
        _print_channels(document.channels)
    for line in (*_nearest_lines(document.nearest, document.k), *_agreement_lines(document)):
        typer.echo(line)
    if len(report.points) > 1:
        typer.echo()
        _print_points(report)
    if document.tokens is not None:
        typer.echo()
        _print_tokens(document.tokens, document.k)
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
    return f"{whose}, {'asked now' if report.times else 'asked when it was built'}; the first {report.document.k} results count"


def _print_groups(document: MetricsDocument) -> None:
    """The whole engine, in all and by what queries are."""
    assert document.fused is not None
    k = document.k
    groups: list[tuple[str, Iterable[tuple[str, Figures]]]] = [
        ("half", document.by_half.items()),
        ("label", _largest(document.by_label)),
        ("language", _largest(document.by_language)),
        ("worst modules", _worst(document.by_module)),
    ]
    rows: list[Sequence[str]] = [_row("all", document.fused)]
    for title, members in groups:
        named = list(members)
        # One group is all there is.
        if len(named) > 1:
            rows += [("",) * 6, (f"by {title}" if title != "worst modules" else title, *[""] * 5)]
            rows += [_row(f"  {name or '(other)'}", figures) for name, figures in named]
    columns = ["", "queries", f"hit@{k}", f"recall@{k}", f"MRR@{k}", f"nDCG@{k}"]
    print_table(columns, rows, right=["queries"])


def _row(name: str, figures: Figures) -> Sequence[str]:
    return (printable(name), f"{figures.queries:,}", *(with_ends(getattr(figures, metric)) for metric in _METRICS))


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
                name, f"{one.states.get('answered', 0):,} of {sum(one.states.values()):,}", with_ends(one.alone.ndcg),
                with_ends(one.without.ndcg), signed(one.lost),
            )
            for name, one in channels.items()
        ],
        right=["answered"],
    )  # fmt: skip


def _nearest_lines(nearest: Nearest | None, k: int) -> Iterable[str]:
    if nearest is None:
        return
    yield ""
    how = "exact search" if nearest.exact else f"{nearest.parameters}, k-factor {nearest.k_factor:g}"
    yield f"nearest vectors: {with_ends(nearest.recall)} of the {k} nearest of all are found by {how}"


def _agreement_lines(document: MetricsDocument) -> Iterable[str]:
    if document.agreement is not None and document.agreement.sample:
        sample = counts(document.agreement.sample, "chunk")
        yield f"vectors: {sample} embedded once more, the lowest cosine with what is stored is {document.agreement.least:.4f}"


def _print_points(report: Report) -> None:
    k = report.document.k
    columns = ["", "point", "k-factor", f"nearest@{k}", f"hit@{k}", f"MRR@{k}", f"nDCG@{k}"]
    print_table(
        columns,
        [
            (
                "→" if row["chosen"] else "", row["parameters"] or "–", f"{row['k_factor']:g}",
                f"{share(row['ann_recall'])} {share(row['low'], 2)}–{share(row['high'], 2)}",
                *(share(row[name]) for name in ("hit", "rr", "ndcg")),
            )
            for row in report.points
        ],
        right=["k-factor", *columns[4:]],
    )  # fmt: skip


def _print_tokens(tokens: TokenOracle, k: int) -> None:
    print_table(
        [f"tokens, {counts(tokens.queries, 'query', 'queries')}", f"hit@{k}", f"MRR@{k}"],
        [
            ("exact MaxSim over all chunks", with_ends(tokens.hit), with_ends(tokens.mrr)),
            ("candidates of the engine, by tokens", with_ends(tokens.rescored_hit), with_ends(tokens.rescored_mrr)),
            ("the engine as it is set", with_ends(tokens.fused_hit), with_ends(tokens.fused_mrr)),
        ],
    )
    typer.echo(
        f"of the {k} best by exact MaxSim, the channel `xtr` finds {with_ends(tokens.channel_recall)}, "
        f"and the engine's pool has {with_ends(tokens.engine_recall)}"
    )


def _print_times(times: Sequence[Mapping[str, Any]]) -> None:
    columns = ["milliseconds", "median", "p95", "measured"]
    print_table(
        columns,
        [(row["stage"], f"{row['median_ms']:.2f}", f"{row['p95_ms']:.2f}", f"{row['measured']:,}") for row in times],
        right=columns[1:],
    )


def _print_first(first: Sequence[Mapping[str, Any]]) -> None:
    """What comes first for queries without answers."""
    from rich.text import Text

    from pipeline.interfaces.output import console

    out = console()
    for row in first[:_MOST_FIRST]:
        out.print(Text(shortened(row["query"])))
        place = f"{row['uri']}:{row['start_line']}-{row['end_line']}  {row['kind']} {row['name']}" if row["uri"] else "no result"
        out.print(Text(f"    {printable(place).rstrip()}", style="dim"))
    if more := len(first) - _MOST_FIRST:
        typer.echo(f"and {counts(more, 'more query', 'more queries')}; --json has all" if more > 0 else "")


def _print_worst(report: Report) -> None:
    from rich.text import Text

    from pipeline.interfaces.output import console

    k, out = report.document.k, console()
    missed = sum(row["hit"] == 0 for row in report.queries)
    if not missed:
        typer.echo(f"every query finds an answer within {k}")
        return
    typer.echo(f"{missed:,} of {counts(len(report.queries), 'query finds', 'queries find')} no answer within {k}, for example")
    for row in report.worst[:_MOST_WORST]:
        rank = f"rank {row['rank']:,}" if row["rank"] is not None else "not found"
        out.print(Text(f"  {shortened(row['query'])}"))
        looked = " ".join(filter(None, (row["uri"], row["symbol"])))
        said = " · ".join(filter(None, (rank, row["label"] + (", masked" if row["masked"] else ""), looked)))
        out.print(Text(f"      {printable(said)}", style="dim"))
