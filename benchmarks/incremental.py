"""What a change costs: small builds beside cold ones, on the releases of Django replayed as commits.

    .venv/bin/python benchmarks/incremental.py [--work DIR] [--runs 5] [--only history,edits,size,corpus,switch] [--json FILE]

Prints Markdown tables and judges them; exits with 1 when a bound is missed. A build is the whole command, from start to exit;
the seconds of its stages are what it wrote into the version's `build.json`. Whatever is compared is measured in turns.

Belongs here: which changes are made, the bounds, the tables. Not here: running and measuring a process (`measure`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import corpus
from measure import environment, run

RELEASES = ("5.1", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.5", "5.1.6", "5.2", "5.2.1", "5.2.2", "5.2.3", "5.2.19")
"""Versions of Django, in the order of their commits."""
EDITED = "django/utils/text.py"
SIZES = (1, 4, 16, 64, 256)
"""Edited files."""
COPIES = (1, 4, 16)
MOST_SECONDS, MOST_SHARE, MOST_GROWTH, MOST_SWITCH = 3.0, 0.15, 1.5, 1.0
_PATIENCE = 120.0
_INDEXCTL = Path(sys.executable).with_name("indexctl")
_DRIVER = Path(__file__).parent / "drivers" / "build_driver.py"
_AUTHOR = {
    "GIT_AUTHOR_NAME": "Release",
    "GIT_AUTHOR_EMAIL": "release@example.org",
    "GIT_COMMITTER_NAME": "Release",
    "GIT_COMMITTER_EMAIL": "release@example.org",
}


@dataclass
class Report:
    """What was measured, for `--json`, and the bounds that were judged."""

    figures: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)

    def judge(self, what: str, value: float, bound: float) -> str:
        """A value beside its bound."""
        met = value <= bound
        if not met:
            self.missed.append(what)
        return f"{what}: {value:.2f}, at most {bound:g}: {'met' if met else '**MISSED**'}"


@dataclass(frozen=True)
class Built:
    """One build: seconds of the whole command and of its stages, and what it said of itself."""

    wall: float
    cpu: float
    stages: Mapping[str, float]
    report: Mapping[str, Any]

    @property
    def staged(self) -> float:
        """Seconds of all stages together."""
        return sum(self.stages.values())


class Site:
    """A repository and a store of its own."""

    def __init__(self, folder: Path, *, scip: bool, **settings: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.tree, self.data = folder / "repo", folder / "store"
        self.tree.mkdir(parents=True)
        self.options = [] if scip else ["--no-scip"]
        self.env = environment({f"CODEINTEL_{name.upper()}": value for name, value in settings.items()} | _AUTHOR)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> str:
        """Run git in the tree."""
        done = subprocess.run(["git", "-C", self.tree, *arguments], check=True, env=self.env, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def replace(self, source: Path) -> None:
        """Make the tree what `source` is."""
        for entry in self.tree.iterdir():
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for entry in source.iterdir():
            target = self.tree / entry.name
            shutil.copytree(entry, target) if entry.is_dir() else shutil.copy2(entry, target)

    def edit(self, *uris: str, text: str) -> None:
        """Append a function to files."""
        for uri in uris:
            with (self.tree / uri).open("a") as file:
                file.write(f"\n\ndef measured_{text}(value):\n    return value\n")

    def build(self, *options: str) -> Built:
        """Build with `indexctl`."""
        ran = run([_INDEXCTL, "build", self.tree, "--data", self.data, "--json", *self.options, *options], env=self.env)
        report = json.loads(ran.stdout)
        facts = json.loads((self.data / "repo" / "versions" / report["version"] / "build.json").read_text())
        return Built(ran.wall, ran.cpu, facts.get("stages") or {}, report)

    def rest(self) -> None:
        """Wait until Dagster was told of what was built: in a store of sixteen copies that takes longer than the next build."""
        ends = time.monotonic() + _PATIENCE
        while any((self.data / "repo" / "unreported").glob("*")) and time.monotonic() < ends:
            time.sleep(0.2)
        time.sleep(1.0)  # The process that told it ends.

    def cold(self) -> Built:
        """A build into a store of its own, without Dagster: what its stages cost."""
        data = self.data.with_name("cold")
        shutil.rmtree(data, ignore_errors=True)
        env = self.env | ({"CODEINTEL_SCIP": "off"} if self.options else {})
        ran = run([sys.executable, _DRIVER, self.tree, data], env=env, timeout=3600)
        found = json.loads(ran.stdout)
        shutil.rmtree(data, ignore_errors=True)
        return Built(ran.wall, ran.cpu, found["stages"], {})


def releases(work: Path) -> Iterator[tuple[str, Path]]:
    """Each release, unpacked."""
    for version in RELEASES:
        yield version, corpus.unpacked(work, f"Django=={version}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def indexed_python(site: Site) -> list[str]:
    """Python files of the tree with something in them, spread over it."""
    found = [path for path in site.git("ls-files", "*.py").splitlines() if (site.tree / path).stat().st_size > 1000]
    return found[:: max(1, len(found) // max(SIZES))]


def history(work: Path, report: Report) -> None:
    """Every release as a commit on top of the one before."""
    site = Site(work / "incremental" / "history", scip=True)
    rows = []
    for version, source in releases(work):
        site.replace(source)
        site.commit(version)
        before = rows[-1] if rows else None
        changed = site.git("diff", "--name-only", "HEAD~1", "HEAD").splitlines() if before else []
        built = site.build()
        rows.append((version, len(changed), built))
        corpus.say(f"{version}: {len(changed)} files, {built.wall:.1f} s")
    report.figures["history"] = [
        {"release": version, "files": files, "wall": built.wall, "stages": built.staged} for version, files, built in rows
    ]
    print(f"## History: {len(rows)} releases of Django as commits, built one after the other\n")
    table(
        ("release", "files changed", "wall s", "stages s"),
        [(v, str(files), f"{built.wall:.2f}", f"{built.staged:.2f}" if built.stages else "cold") for v, files, built in rows],
    )


def edits(work: Path, report: Report, runs: int) -> None:
    """One edited file, beside a cold build of the same tree."""
    site = Site(work / "incremental" / "edits", scip=True)
    site.replace(corpus.unpacked(work, f"Django=={RELEASES[-1]}"))
    site.commit("all")
    site.build()
    cold = site.cold()
    small = []
    for turn in range(runs):
        site.edit(EDITED, text=str(turn))
        small.append(site.build())
    wall = statistics.median(built.wall for built in small)
    share = statistics.median(built.staged for built in small) / cold.staged
    unscip = {name: seconds for name, seconds in cold.stages.items() if name != "scip_index"}
    report.figures["edits"] = {
        "wall": [built.wall for built in small],
        "stages": [dict(built.stages) for built in small],
        "cold": dict(cold.stages),
        "cold_wall": cold.wall,
    }
    print("## One edited file of Django, no SCIP refresh\n")
    rows = [
        (name, f"{seconds:.2f}", f"{statistics.median(built.stages.get(name, 0.0) for built in small):.3f}")
        for name, seconds in cold.stages.items()
    ]
    staged = statistics.median(built.staged for built in small)
    rows.append(("all stages", f"{cold.staged:.2f}", f"{staged:.2f}"))
    rows.append(("whole command", f"{cold.wall:.2f}", f"{wall:.2f}"))
    table(("stage", "cold s", "small s (median)"), rows)
    print("- " + report.judge("end to end, s", wall, MOST_SECONDS))
    print("- " + report.judge("share of the cold stages", share, MOST_SHARE))
    print(f"- share of the cold stages without the indexer ({sum(unscip.values()):.1f} s): {staged / sum(unscip.values()):.2f}")
    print(f"- outside of stages (start, plan, publication): {wall - staged:.2f} s\n")


def size(work: Path, report: Report, runs: int) -> None:
    """The cost against the size of the change."""
    site = Site(work / "incremental" / "size", scip=False)
    site.replace(corpus.unpacked(work, f"Django=={RELEASES[-1]}"))
    site.commit("all")
    site.build()
    files = indexed_python(site)
    walls: dict[int, list[float]] = {count: [] for count in SIZES}
    stages: dict[int, list[float]] = {count: [] for count in SIZES}
    for turn in range(runs):
        for count in SIZES:
            site.edit(*files[:count], text=f"{turn}_{count}")
            built = site.build()
            walls[count].append(built.wall)
            stages[count].append(built.staged)
    report.figures["size"] = {"wall": walls, "stages": stages}
    print("## Cost against the size of the change (Django, no indexer)\n")
    medians = {count: statistics.median(walls[count]) for count in SIZES}
    rows = [(str(n), f"{medians[n]:.2f}", f"{statistics.median(stages[n]):.2f}") for n in SIZES]
    table(("edited files", "wall s", "stages s"), rows)
    fit = statistics.linear_regression(list(medians), list(medians.values()))
    worst = max(medians[n] / (fit.intercept + fit.slope * n) for n in SIZES)
    share = statistics.correlation(list(medians), list(medians.values())) ** 2
    print(f"- line: {fit.intercept:.2f} s + {1000 * fit.slope:.1f} ms a file; r² {share:.3f}; worst {worst:.2f} × the line")
    cost = medians[SIZES[-1]] / (fit.intercept + fit.slope * SIZES[-1])
    print("- " + report.judge("cost of the largest change beside the line", cost, 1.25) + "\n")


def scale(work: Path, report: Report, runs: int) -> None:
    """The same change in one, four and sixteen copies of Django."""
    source = corpus.unpacked(work, f"Django=={RELEASES[-1]}")
    sites: dict[int, Site] = {}
    for copies in COPIES:
        site = sites[copies] = Site(work / "incremental" / f"copies-{copies}", scip=False)
        for number in range(copies):
            shutil.copytree(source, site.tree / f"copy{number:02}")
        site.commit("all")
        corpus.say(f"{copies} copies: {site.build().wall:.1f} s cold")
        site.edit(f"copy00/{EDITED}", text="first")
        site.build()
        site.rest()
    small: dict[int, list[Built]] = {copies: [] for copies in COPIES}
    for turn in range(runs):
        for copies, site in sites.items():
            site.edit(f"copy00/{EDITED}", text=str(turn))
            small[copies].append(site.build())
            site.rest()
    report.figures["corpus"] = {
        copies: {"wall": [built.wall for built in found], "stages": [dict(built.stages) for built in found]}
        for copies, found in small.items()
    }
    print("## One edited file in copies of Django under different paths (no indexer)\n")
    walls = {copies: statistics.median(built.wall for built in small[copies]) for copies in COPIES}
    staged = {copies: statistics.median(built.staged for built in small[copies]) for copies in COPIES}
    names = list(small[COPIES[0]][0].stages)
    rows = [
        (name, *(f"{statistics.median(b.stages.get(name, 0.0) for b in small[copies]):.3f}" for copies in COPIES))
        for name in names
    ]
    rows.append(("all stages", *(f"{staged[copies]:.2f}" for copies in COPIES)))
    rows.append(("whole command", *(f"{walls[copies]:.2f}" for copies in COPIES)))
    cpus = {copies: statistics.median(built.cpu for built in small[copies]) for copies in COPIES}
    rows.append(("its processor time", *(f"{cpus[copies]:.2f}" for copies in COPIES)))
    table(("stage", *(f"{copies} × s" for copies in COPIES)), rows)
    for copies in COPIES[1:]:
        print("- " + report.judge(f"{copies} × beside 1 ×, whole command", walls[copies] / walls[COPIES[0]], MOST_GROWTH))
    # Of sixteen equal answers most are one too many for a query: there is hardly anything to ask then.
    asked = {
        copies: statistics.median(built.wall - built.stages.get("eval_metrics", 0.0) for built in small[copies])
        for copies in COPIES
    }
    print(f"- without evaluation: {' / '.join(f'{asked[copies]:.2f} s' for copies in COPIES)}\n")


def switching(work: Path, report: Report, runs: int) -> None:
    """Back to a tree that was built before, and rollback."""
    site = Site(work / "incremental" / "switch", scip=False)
    for version in RELEASES[-2:]:
        site.replace(corpus.unpacked(work, f"Django=={version}"))
        site.commit(version)
        site.build()
    site.git("branch", "older", "HEAD~1")
    walls: dict[str, list[float]] = {"git checkout, then build": [], "rollback": [], "nothing changed": []}
    for _ in range(runs):
        for branch in ("older", "main"):
            site.git("checkout", "-q", branch)
            built = site.build()
            if built.report["built"] != ["current"]:
                raise SystemExit(f"{branch} was built again: {built.report['built']}")
            walls["git checkout, then build"].append(built.wall)
        walls["nothing changed"].append(site.build().wall)
        walls["rollback"].append(run([_INDEXCTL, "rollback", "--data", site.data], env=site.env).wall)
        site.build()
    traced = subprocess.run(
        [sys.executable, "-X", "importtime", _INDEXCTL, "build", site.tree, "--data", site.data, *site.options],
        env=site.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name for name in ("dagster", "sqlalchemy") if f"| {name}\n" in traced.stderr or f" {name}\n" in traced.stderr}
    report.figures["switch"] = walls
    print("## Known versions\n")
    rows = [(name, f"{statistics.median(found):.2f}", f"{max(found):.2f}") for name, found in walls.items()]
    table(("what", "median s", "worst s"), rows)
    for name, found in walls.items():
        print("- " + report.judge(f"{name}, s", statistics.median(found), MOST_SWITCH))
    print("- " + report.judge("modules of Dagster that were imported", len(loaded), 0) + "\n")


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description="What a change costs.")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="downloads and stores")
    parser.add_argument("--runs", type=int, default=5, help="how often each change is made")
    parser.add_argument("--only", default="history,edits,size,corpus,switch", help="which parts")
    parser.add_argument("--json", type=Path, help="write all figures there")
    given = parser.parse_args()
    work, report = given.work.resolve(), Report()
    parts = {
        "history": lambda: history(work, report),
        "edits": lambda: edits(work, report, given.runs),
        "size": lambda: size(work, report, given.runs),
        "corpus": lambda: scale(work, report, given.runs),
        "switch": lambda: switching(work, report, given.runs),
    }
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {given.runs} runs\n")
    for name in given.only.split(","):
        parts[name]()
    if given.json:
        given.json.write_text(json.dumps(report.figures, indent=1))
    if report.missed:
        raise SystemExit(f"missed: {'; '.join(report.missed)}")


if __name__ == "__main__":
    main()
