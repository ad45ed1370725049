"""`indexctl doctor`: is everything here as it should be, and if not, what to do.

Belongs here: in which order things are looked at, and how findings are shown. Not here: looking (`examining`).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import typer

from pipeline.interfaces.options import Data, Json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.interfaces.examining.findings import Finding

_MARKS = {"ok": ("✓", "green"), "note": ("–", "dim"), "warning": ("!", "yellow"), "problem": ("✗", "bold red")}
_TITLES = {"installed": "Installed", "indexers": "Indexers", "settings": "Settings", "store": "Store", "dagster": "Dagster"}
_MOST_NAMED = 3
_MOST_SHOWN = 8
"""Repositories that are shown also when nothing is to be said of them."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(data: Data = None, json: Json = False) -> None:
    """Look at what is installed and at the store, say what is wrong, and what to do. Changes nothing.

    Ends with 1 where something is wrong (✗), and with 0 where nothing is, or only something could be better (!).

    Example: indexctl doctor --json | jq '.findings[] | select(.level == "problem")'
    """
    from pipeline.interfaces.examining.findings import Level
    from pipeline.interfaces.output import print_json
    from pipeline.store.place import data_folder

    root = data_folder(data)
    findings = _examine(root)
    wrong = [one for one in findings if one.level is Level.PROBLEM]
    if json:
        print_json({"ok": not wrong, "data": str(root), "findings": [one.as_json() for one in findings]})
    else:
        _print(findings)
    if wrong:
        raise typer.Exit(1)


def _examine(root: Path) -> list[Finding]:
    """Everything that is found."""
    import os

    from pipeline.config import ScipSettings
    from pipeline.errors import CodeIntelError
    from pipeline.interfaces.examining.dagster_home import examine_home
    from pipeline.interfaces.examining.environment import examine_environment
    from pipeline.interfaces.examining.installation import examine_indexers, examine_installation
    from pipeline.interfaces.examining.stores import examine_store
    from pipeline.settings_files import load

    in_store: list[Finding] = []
    examined = examine_store(root, in_store)
    try:
        scip = load(root).scip
    except CodeIntelError:
        scip = ScipSettings()  # Why they cannot be read is told.
    general = list(examine_environment(os.environ, root))
    told = {one.text for one in general}
    return [
        *examine_installation(),
        *examine_indexers(scip, examined.languages),
        *general,
        # What is wrong with the settings of all is not told again for each repository.
        *(one for one in in_store if one.text not in told),
        *(examine_home(examined.store) if examined.store else ()),
    ]


def _print(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from pipeline.interfaces.output import console, printable

    out = console()
    shown, hidden = _worth_showing(findings)
    width = max(len(_label(one)) for one in shown)
    for area, title in _TITLES.items():
        of_area = [one for one in shown if one.area == area]
        if of_area:
            out.print(Text(title, style="bold"))
        for one in of_area:
            mark, style = _MARKS[one.level.value]
            line = Text(f"  {mark} ", style=style).append(f"{_label(one):<{width}}  ", style="not bold cyan")
            text = _hanging(printable(one.text), out.width, width + 6)
            out.print(line.append(text, style=("not bold " + ("dim" if one.level == "note" else "default"))))
        if area == "store" and hidden:
            out.print(Text(f"    and {hidden} more, of which nothing is to be said", style="dim"))
    _print_advice(findings)


def _label(finding: Finding) -> str:
    return finding.repo or finding.check


def _hanging(text: str, width: int, indent: int) -> str:
    """Text in lines that begin below one another, on a terminal of `width` columns."""
    return textwrap.fill(
        text, max(20, width - indent), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def _worth_showing(findings: Sequence[Finding]) -> tuple[list[Finding], int]:
    """What is shown, and how many healthy repositories are not: beyond some they would bury the others."""
    healthy = [one for one in findings if one.repo and one.level == "ok"]
    dropped = healthy[_MOST_SHOWN:]
    return [one for one in findings if one not in dropped], len(dropped)


def _print_advice(findings: Sequence[Finding]) -> None:
    """What to do, the problems first, and the verdict."""
    from rich.text import Text

    from pipeline.interfaces.output import console, counts, printable

    out = console()
    advised = [one for level in ("problem", "warning", "note") for one in findings if one.level == level and one.hint]
    # By hint: the same is advised for many repositories.
    labels: dict[str, dict[str, str]] = {}
    for one in advised:
        labels.setdefault(one.hint, {})[_label(one)] = one.level.value
    if labels:
        out.print()
        out.print(Text("What to do", style="bold"))
    for number, (hint, named) in enumerate(labels.items(), 1):
        mark, style = _MARKS[next(iter(named.values()))]
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        label = f"{', '.join(list(named)[:_MOST_NAMED])}{more}: "
        line = Text(f" {number:>2} ").append(f"{mark} ", style=style).append(label, style="cyan")
        out.print(line.append(_hanging(printable(hint), out.width, 6 + len(label))))
    problems, warnings = (sum(one.level == level for one in findings) for level in ("problem", "warning"))
    out.print()
    if problems:
        could = f", and {counts(warnings, 'thing')} could be better" if warnings else ""
        out.print(Text(f"{counts(problems, 'problem')}{could}", style="bold red"))
    elif warnings:
        out.print(Text(f"nothing is wrong; {counts(warnings, 'thing')} could be better", style="yellow"))
    else:
        out.print(Text("everything is as it should be", style="green"))
