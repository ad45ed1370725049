"""How two versions are printed beside each other, and all of them below each other.

Belongs here: tables for people. Not here: comparing and collecting (`pipeline.evaluation`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.interfaces.evaluation_tables import print_lines, print_query, share, signed
from pipeline.interfaces.output import console, counts, print_table, printable

if TYPE_CHECKING:
    from pipeline.evaluation.changes import Change
    from pipeline.evaluation.comparison import Comparison, Difference, Moved
    from pipeline.evaluation.history import Entry

_MOST_MOVED, _MOST_CHANGES = 10, 6
_BELOW = 6


def print_comparison(first: str, second: str, found: Comparison) -> None:
    """Differences, what changed, and the queries that moved most."""
    typer.echo(f"{first} → {second}")
    if found.overall is None:
        typer.echo(f"not comparable: {printable(found.incomparable)}")
    else:
        typer.echo(_shared(found))
        typer.echo()
        _print_differences(found, found.overall)
    typer.echo()
    typer.echo("what differs" if found.changed else "the versions are made alike")
    _print_changes(found.changed, len(found.changed), 2)
    for title, moved in (("worse", found.worse), ("better", found.better)):
        if moved:
            typer.echo()
            _print_moved(title, moved)


def _shared(found: Comparison) -> str:
    alone = [
        f"{count:,} only the {which}" for which, count in (("first", found.only_before), ("second", found.only_after)) if count
    ]
    told = f"{counts(found.shared, 'query was', 'queries were')} asked to both"
    return f"{told}{''.join(f', {one}' for one in alone)}; the first {found.k} results count"


def _print_differences(found: Comparison, overall: Difference) -> None:
    k = found.k
    rows = [_row("all", overall)]
    groups: Mapping[str, Difference]
    for groups in (found.by_half, found.by_label):
        if len(groups) > 1:
            rows += [_row(f"  {name}", one) for name, one in groups.items()]
    columns = ["", "queries", "before", "after", f"difference of nDCG@{k}"]
    print_table(columns, rows, right=columns[1:4])
    typer.echo(f"in all, hit@{k} {signed(overall.hit)}, MRR@{k} {signed(overall.mrr)}")


def _row(name: str, one: Difference) -> Sequence[str]:
    return (printable(name), f"{one.queries:,}", share(one.before), share(one.after), signed(one.ndcg))


def _print_changes(changed: Sequence[Change], most: int, indent: int) -> None:
    for change in changed[:most]:
        print_lines(str(change), indent, style="dim" if indent else "")
    if (more := len(changed) - most) > 0:
        print_lines(f"and {more} more", indent, style="dim")


def _print_moved(title: str, moved: Sequence[Moved]) -> None:
    shown = f", {_MOST_MOVED} of them" if len(moved) > _MOST_MOVED else ""
    typer.echo(f"{counts(len(moved), 'query does', 'queries do')} {title}{shown}")
    for one in moved[:_MOST_MOVED]:
        ranks = " → ".join("not found" if rank is None else f"rank {rank:,}" for rank in (one.before, one.after))
        print_query(one.query, ranks, one.label, f"{one.uri} {one.symbol}".strip(), masked=one.masked)


def print_history(name: str, entries: Sequence[Entry]) -> None:
    """A row for each version, the last published first, and below it what changed against the one before."""
    from rich.text import Text

    if not entries:
        typer.echo(f"{name} has no version")
        return
    heads = ("", "version", "published", "commit", "nDCG", "hit", "nearest", "MB", "build s", "ms")
    rows = [_history_row(entry) for entry in reversed(entries)]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    out = console()
    out.print(Text(_aligned(heads, widths), style="bold"))
    for entry, row in zip(reversed(entries), rows, strict=True):
        out.print(Text(_aligned(row, widths)))
        _print_below(entry)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, figures to the right."""
    cells = [
        cell.ljust(width) if place < 4 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return " ".join(cells).rstrip()


def _history_row(entry: Entry) -> Sequence[str]:
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.published_at)) if entry.published_at else "–"
    commit = "–" if entry.commit is None else entry.commit[:7] + ("+" if entry.dirty else "")
    return (
        "*" if entry.current else "", entry.version, moment, commit,
        "–" if entry.quality is None else share(entry.quality.ndcg.mean),
        "–" if entry.quality is None else share(entry.quality.hit.mean),
        "–" if entry.nearest is None else share(entry.nearest.recall.mean),
        "–" if entry.bytes is None else f"{entry.bytes / 1e6:,.1f}",
        "–" if entry.seconds is None else f"{entry.seconds:,.1f}",
        "–" if entry.latency_ms is None else f"{entry.latency_ms:.1f}",
    )  # fmt: skip


def _print_below(entry: Entry) -> None:
    if entry.problem:
        print_lines(f"damaged: {entry.problem}", _BELOW, style="red")
    _print_changes(entry.changed, _MOST_CHANGES, _BELOW)
    for check, problems in entry.allowed.items():
        told = "; ".join(map(str, problems)) if isinstance(problems, list | tuple) else str(problems)
        print_lines(f"published in spite of {check}: {told}", _BELOW, style="yellow")
