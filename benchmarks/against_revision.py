"""What a cold build costs beside an older revision of this very project, in interleaved rounds.

    .venv/bin/python benchmarks/against_revision.py REVISION [PATH] [--runs N] [--set NAME=VALUE …] [--at-most RATIO]

Each revision is checked out into the work folder and runs with this environment's packages. Neither runs a SCIP indexer, and
this checkout reads no concrete syntax (`CODEINTEL_CST=false`): what remains is what everybody pays. `--set` gives both more
settings, such as `CODEINTEL_INCLUDE=*.py`. Prints a Markdown table; exits with 1 when the ratio of the median wall times is
above `--at-most`.

Belongs here: this project against itself. Not here: other tools (`main_job`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import corpus
from measure import Series, environment, run

ROOT = Path(__file__).resolve().parent.parent
_ENTRANCE = "import sys; from pipeline.interfaces.main import program; sys.argv[0] = 'indexctl'; program()"


def checkout(work: Path, revision: str) -> tuple[Path, str]:
    """The files of a revision in a folder of their own, and its short name."""
    name = subprocess.run(
        ["git", "rev-parse", "--short", f"{revision}^{{commit}}"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    folder = work / "revisions" / name
    if not folder.is_dir():
        folder.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", name], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder, name


def main() -> int:
    """Measure, print, and say by the exit code whether the bound is met."""
    parser = argparse.ArgumentParser(description="Compares a cold build with that of an older revision of this project.")
    parser.add_argument("revision", help="any name of a commit that git knows")
    parser.add_argument("path", type=Path, nargs="?", help="what to index (default: the Django of main_job.py)")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="downloads, revisions and stores")
    parser.add_argument("--runs", type=int, default=5, help="measured rounds, after one that is not counted")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an environment variable for both")
    parser.add_argument("--at-most", type=float, help="the largest ratio of the median wall times")
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    source = given.path.resolve() if given.path else corpus.django(work)
    old, name = checkout(work, given.revision)
    extra = dict(pair.split("=", 1) for pair in given.set)
    sides = {name: (old, {}), "this checkout": (ROOT, {"CODEINTEL_CST": "false"})}
    walls, cpus = {side: Series() for side in sides}, {side: Series() for side in sides}
    store = work / "stores" / "against"
    for number in range(given.runs + 1):
        corpus.say(f"round {number} of {given.runs}")
        for side, (root, settings) in sides.items():
            shutil.rmtree(store, ignore_errors=True)
            env = environment({"PYTHONPATH": root, **settings, **extra})
            command = [sys.executable, "-c", _ENTRANCE, "build", source, "--data", store, "--no-scip", "--quiet"]
            measured = run(command, cwd=root, env=env)
            if number:
                walls[side].add(measured.wall)
                cpus[side].add(measured.cpu)
    shutil.rmtree(store, ignore_errors=True)
    print("| | wall, s | processor, s |\n|---|---:|---:|")
    for side in sides:
        print(f"| {side} | {walls[side].show()} | {cpus[side].show()} |")
    ratios = [series["this checkout"].median / series[name].median for series in (walls, cpus)]
    print(f"| ratio of the medians | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    # Wall time is what people wait for; processor time tells whether the machine was busy with something else.
    return 1 if given.at_most is not None and ratios[0] > given.at_most else 0


if __name__ == "__main__":
    sys.exit(main())
