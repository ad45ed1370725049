"""The main job in figures: Django's source from files to a published, searchable index, beside semble and archex.

    .venv/bin/python benchmarks/main_job.py [--work DIR] [--runs 3] [--skip-peers | --only-peers] [--json FILE]

Prints one Markdown table; exits with 1 when a bound is missed. The tools take turns (ours, semble, archex, ours, …), because a
shared machine is faster in one minute than in the next.

Belongs here: the order of the runs, the bounds, the table. Not here: how a tool is run (`ours`, `peers`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import corpus
import peers
from figures import Figures
from measure import Series
from ours import Ours

PASSES = 10
"""How often the warm queries are asked, after once unmeasured."""
_LIBRARIES = ("codeintel-pipeline", "dagster", "duckdb", "faiss-cpu", "faiss-gpu", "numpy", "pyarrow", "tantivy", "tree-sitter")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bound, and whether it is kept."""

    bound: str
    met: bool | None
    """None: could not be judged, because the other side was not measured."""

    def show(self) -> str:
        """For a table cell."""
        return f"{self.bound}: " + {True: "met", False: "**MISSED**", None: "not measured"}[self.met]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure of every tool."""

    name: str
    cell: Callable[[Figures], str]
    verdicts: tuple[Verdict, ...] = ()
    note: str = ""

    def judgement(self) -> str:
        """The last cell."""
        return "; ".join([*(verdict.show() for verdict in self.verdicts), *([self.note] if self.note else [])])


def at_most(label: str, value: float, bound: float, *, strict: bool = False) -> Verdict:
    """A verdict on a number; NaN on either side leaves it open."""
    known = not math.isnan(value) and not math.isnan(bound)
    return Verdict(label, (value < bound if strict else value <= bound) if known else None)


def over(series: str, digits: int = 2) -> Callable[[Figures], str]:
    """The cell that shows one series."""

    def cell(figures: Figures) -> str:
        found: Series = getattr(figures, series)
        return found.show(digits)

    return cell


def ratio(ours: Series, theirs: Series) -> float:
    """Quotient of the medians; NaN when one was not measured."""
    return ours.median / theirs.median if ours.values and theirs.values else float("nan")


def faster_semble(others: Sequence[Figures]) -> Figures:
    """The faster of semble's two ways."""
    measured = [figures for figures in others if figures.label.startswith("semble") and figures.build.values]
    return min(measured, key=lambda figures: figures.build.median, default=Figures("semble"))


def build_verdicts(ours: Figures, others: Sequence[Figures]) -> tuple[Verdict, ...]:
    """Cold build of everything: faster than archex, which indexes everything too."""
    archex = ratio(ours.build, next((figures.build for figures in others if figures.label == "archex"), Series()))
    return (at_most(f"{times(archex)} archex, below 1", archex, 1.0, strict=True),)


def same_files_verdicts(ours: Figures, others: Sequence[Figures]) -> tuple[Verdict, ...]:
    """Cold build of the files that semble indexes: at most 1.5 times semble, and 30 % for symbols by syntax, module facts and
    their joins, which semble does not make."""
    semble = ratio(ours.build_same, faster_semble(others).build)
    return (at_most(f"{times(semble)} semble’s faster way (its cold build), at most 1.95", semble, 1.5 * 1.3),)


def times(value: float) -> str:
    """A ratio for people."""
    return "?" if math.isnan(value) else f"{value:.2f} ×"


def processor_note(ours: Figures, others: Sequence[Figures]) -> str:
    """The ratio that a busy machine hardly changes."""
    semble = ratio(ours.build_cpu, faster_semble(others).build_cpu)
    return "" if math.isnan(semble) else f"{semble:.2f} × semble’s faster way"


def place_row(wanted: corpus.Expectation, ours: Figures | None) -> Row:
    """The place of the file that a query must find."""

    def cell(figures: Figures) -> str:
        return str(figures.places.get(wanted.query) or "–") if figures.places else "–"

    bound = "first" if wanted.within == 1 else f"in the first {wanted.within}"
    place = ours.places.get(wanted.query) if ours else None
    verdicts = (Verdict(bound, place is not None and place <= wanted.within),) if ours else ()
    return Row(f"Place of `{wanted.uri}` for “{wanted.query}”", cell, verdicts)


def rows(ours: Figures | None, others: Sequence[Figures]) -> list[Row]:
    """The table's lines, with the verdicts on our figures."""

    def bound(label: str, series: str, limit: float) -> tuple[Verdict, ...]:
        return (at_most(label, getattr(ours, series).median, limit, strict=True),) if ours else ()

    memory: tuple[Verdict, ...] = ()
    if ours:
        memory = (at_most("below 1024", max(ours.build_peak.highest, ours.cold_query_peak.highest), 1024, strict=True),)
    return [
        Row("Files indexed", over("files", 0)),
        Row("Chunks", over("chunks", 0)),
        Row("Cold build, wall s", over("build"), build_verdicts(ours, others) if ours else ()),
        Row(
            "… of the Python files alone, as semble does", over("build_same"), same_files_verdicts(ours, others) if ours else ()
        ),
        Row("… with precise symbols, concrete syntax and evaluation, as by default", over("build_full")),
        Row("… the indexing call alone, s", over("build_inner")),
        Row("… processor s", over("build_cpu"), note=processor_note(ours, others) if ours else ""),
        Row("… peak memory of the process tree, MiB", over("build_peak", 0), memory),
        Row("Build with nothing to do, wall s", over("again"), bound("below 1", "again", 1.0)),
        Row("Cold query process, wall s", over("cold_query"), bound("below 0.8", "cold_query", 0.8)),
        Row("… peak memory, MiB", over("cold_query_peak", 0)),
        Row("Warm query, ms", over("warm_query"), bound("median below 5", "warm_query", 5.0)),
        Row("Index on disk, MiB", over("store_mib", 0)),
        *(place_row(wanted, ours) for wanted in corpus.EXPECTATIONS),
    ]


def table(lines: Sequence[Row], tools: Sequence[Figures]) -> str:
    """Markdown."""
    out = [
        "| | " + " | ".join(figures.label for figures in tools) + " | must be |",
        "|---|" + "---:|" * len(tools) + "---|",
    ]
    for line in lines:
        cells = [line.cell(figures) for figures in tools]
        out.append(f"| {line.name} | " + " | ".join(cells) + f" | {line.judgement()} |")
    return "\n".join(out)


def machine(work: Path) -> str:
    """What it was measured on and with."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ours = [f"{name} {version}" for name in _LIBRARIES if (version := _version(name))]
    theirs = []
    for name in ("semble", "archex"):
        python = work / "env" / name / "bin" / "python"
        if python.exists():
            frozen = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout.split()
            known = ("semble", "model2vec", "archex", "tiktoken", "tree-sitter", "numpy")
            theirs.append(", ".join(line.replace("==", " ") for line in frozen if line.partition("==")[0] in known))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return "\n".join(
        [
            f"- Machine: {usable} processors, {platform.system()} {platform.machine()}, Python {platform.python_version()};"
            f" load average at the end {load}",
            f"- Ours: {', '.join(ours)}",
            *(f"- Peer: {line}" for line in theirs),
        ]
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def measure_all(work: Path, runs: int, *, with_ours: bool, with_peers: bool) -> tuple[Ours | None, list[Figures]]:
    """Everything, in turns. The first round of each tool is a warm-up (compiled modules, page cache) and not counted."""
    source = corpus.django(work)
    files, python_files, size = corpus.tree_facts(source)
    corpus.say(f"{corpus.DJANGO}: {files} files, {python_files} of Python with {size / 1e6:.1f} MB")
    ours = Ours(work, source) if with_ours else None
    others: list[peers.Semble | peers.Archex] = []
    if with_peers:
        others = [peers.Semble(work, source, 0), peers.Semble(work, source, 4), peers.Archex(work, source)]
    for number in range(runs + 1):
        corpus.say(f"Round {number} of {runs}" + (" (warm-up)" if number == 0 else ""))
        if ours:
            ours.round(warm_up=number == 0)
        for other in others:
            other.round()
            if number == 0:
                other.figures = Figures(other.figures.label)
    corpus.say("Warm queries")
    if ours:
        ours.queries(PASSES)
    for other in others:
        other.queries(PASSES)
    return ours, [other.figures for other in others]


def store_lines(ours: Ours) -> list[tuple[str, bool]]:
    """Bounds that are not numbers: what a second build imports, and that two stores are equal."""
    imported = ours.imports_of_a_second_build()
    lines = [("A build with nothing to do imports no Dagster" + (f" (found: {imported[0]})" if imported else ""), not imported)]
    if len(ours.stores) > 1:
        assets, problems = ours.differences()
        text = f"Two stores, same tree: same keys and bytes of {len(assets)} assets ({', '.join(assets)})"
        lines.append((text + (f"; differing: {'; '.join(problems[:5])}" if problems else ""), not problems and bool(assets)))
    return lines


def main() -> int:
    """Measure, print, and say by the exit code whether all bounds are met."""
    parser = argparse.ArgumentParser(description="Measures the main job on Django's source, beside semble and archex.")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="downloads, environments and stores")
    parser.add_argument("--runs", type=int, default=3, help="measured rounds (two or more to compare two stores)")
    parser.add_argument("--json", type=Path, help="also write the raw figures here")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--skip-peers", action="store_true", help="measure this project alone")
    which.add_argument("--only-peers", action="store_true", help="measure semble and archex alone")
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    ours, others = measure_all(work, max(1, given.runs), with_ours=not given.only_peers, with_peers=not given.skip_peers)
    tools = [*([ours.figures] if ours else []), *others]
    lines = rows(ours.figures if ours else None, others)
    checks = store_lines(ours) if ours else []
    print(f"{corpus.DJANGO}, {given.runs} rounds; min / **median** / max.\n")
    print(table(lines, tools))
    print()
    for text, met in checks:
        print(f"- {text}: {'met' if met else '**MISSED**'}")
    print(machine(work))
    if any(figures.label.startswith("semble") for figures in tools):
        print(
            "- semble runs on a stand-in table (WordLlama's), because its own weights are not on PyPI:"
            " read its speed, not its places"
        )
    if given.json:
        given.json.write_text(json.dumps({figures.label: asdict(figures) for figures in tools}, indent=2) + "\n")
    missed = [verdict for line in lines for verdict in line.verdicts if verdict.met is False]
    return 1 if missed or not all(met for _, met in checks) else 0


if __name__ == "__main__":
    sys.exit(main())
