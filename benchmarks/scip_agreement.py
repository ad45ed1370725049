"""How much of what scip-python defines the default indexer defines, too, at the same bytes.

    .venv/bin/python benchmarks/scip_agreement.py [PATH] --scip-python PROGRAM

PATH is a tree of Python; without it, Django 5.2 is fetched. Both indexers run by the functions that the build uses. Every
definition of scip-python counts, by file and byte range, in every file that it indexed, but those with an empty range: these
are the modules, one a file, and files are compared by themselves. Prints Markdown; exits with 1 below 99 %.

Belongs here: agreement of two indexers of Python. Not here: cost (`scip_reader.py`, `stages.py`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import corpus

from pipeline.config import ScipSettings
from pipeline.structure.scip import indexers
from pipeline.structure.scip.indexers import Program
from pipeline.structure.scip.reader import byte_offsets, column_unit, read_occurrences

BOUND = 0.99
SHOWN = 12
Place = tuple[str, int, int]
"""uri, start byte, end byte."""


def category(symbol: str) -> str:
    """What a symbol of scip-python is, by its end."""
    if symbol.startswith("local "):
        return "local"
    ends = {"/__init__:": "module", ").": "function", "#": "class", ")": "parameter"}
    return next((name for end, name in ends.items() if symbol.endswith(end)), "variable or attribute")


def indexed(program: Program, sources: dict[str, bytes], target: Path) -> tuple[dict[Place, str], set[str], str]:
    """Definitions by place with the first symbol there, files, and a line about the run."""
    started = time.monotonic()
    ran = indexers.index_python(program, sources, target, 3600)
    seconds = time.monotonic() - started
    if ran.problem:
        raise SystemExit(f"{program.tool}: {ran.problem}")
    found: dict[Place, str] = {}
    files: set[str] = set()
    for group in read_occurrences(target, language="python"):
        files.update(group.paths)
        table = group.occurrences.filter((group.occurrences["roles"].to_numpy() & 1) == 1)
        document = table["document"].to_numpy()
        for number, uri in enumerate(group.paths):
            rows = table.filter(document == number)
            unit = column_unit(int(group.encoding[number]), program.tool)
            ends = [
                byte_offsets(sources[uri], rows[f"{end}_line"].to_numpy(), rows[f"{end}_column"].to_numpy(), unit).tolist()
                for end in ("start", "end")
            ]
            for start, end, symbol in zip(*ends, rows["symbol"].to_pylist(), strict=True):
                found.setdefault((uri, start, end), symbol)
    told = f"- {program.tool} {program.version}: {len(files)} files, {len(found):,} places, {seconds:.0f} s"
    reasons = Counter(item.reason for item in ran.left_out)
    return found, files, told + "".join(f"; {count} left out: {reason}" for reason, count in sorted(reasons.items()))


def sample(missing: list[Place], sources: dict[str, bytes], theirs: dict[Place, str]) -> None:
    """Some of what is missing, evenly over the whole, each with its line."""
    for uri, start, end in missing[:: max(1, len(missing) // SHOWN)][:SHOWN]:
        content = sources[uri]
        line = content[content.rfind(b"\n", 0, start) + 1 :].split(b"\n", 1)[0].decode("utf-8", "replace").strip()
        number = content.count(b"\n", 0, start) + 1
        name = content[start:end].decode("utf-8", "replace")
        print(f"- {uri}:{number} `{name}` ({category(theirs[uri, start, end])}): `{line[:80]}`")


def report(sources: dict[str, bytes], ours: Program, theirs: Program, work: Path) -> bool:
    """Run both, print, and say whether the bound holds."""
    mine, my_files, about_mine = indexed(ours, sources, work / "ours.scip")
    other, other_files, about_other = indexed(theirs, sources, work / "theirs.scip")
    print(f"{about_mine}\n{about_other}")
    print(f"- only {theirs.tool} has: {', '.join(sorted(other_files - my_files)[:40]) or 'none'}")
    print(f"- only {ours.tool} has: {', '.join(sorted(my_files - other_files)[:40]) or 'none'}\n")
    print(f"| {theirs.tool} defines | places | also in {ours.tool} | share |\n|---|---|---|---|")
    places = sorted(place for place in other if place[2] > place[1])
    empty = len(other) - len(places)
    groups = {name: [place for place in places if category(other[place]) == name] for name in
              ("module", "class", "function", "parameter", "variable or attribute", "local")}  # fmt: skip
    both = [place for place in places if place[0] in my_files]
    share = 0.0
    for name, chosen in (*groups.items(), ("**in files that both have**", both), ("**everywhere**", places)):
        if not chosen:
            continue
        hits = sum(place in mine for place in chosen)
        share = hits / len(chosen)
        print(f"| {name} | {len(chosen):,} | {hits:,} | {share:.2%} |")
    print(f"\nNot counted: {empty:,} definitions with an empty range (modules). Missing, for example:\n")
    sample([place for place in places if place not in mine], sources, other)
    return share >= BOUND


def main() -> None:
    """Read the command line, compare, and exit with 1 below the bound."""
    parser = argparse.ArgumentParser(description="How much of what scip-python defines the default indexer defines, too.")
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--scip-python", required=True, metavar="PROGRAM")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work")
    arguments = parser.parse_args()
    root = arguments.path or corpus.django(arguments.work)
    sources = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py")) if path.is_file()}
    ours = indexers.python_program(ScipSettings())
    theirs = indexers.python_program(ScipSettings(scip_python=arguments.scip_python))
    if ours is None or theirs is None or ours.tool == theirs.tool:
        raise SystemExit("Both ty-scip and scip-python are needed.")
    with tempfile.TemporaryDirectory() as work:
        sys.exit(0 if report(sources, ours, theirs, Path(work)) else 1)


if __name__ == "__main__":
    main()
