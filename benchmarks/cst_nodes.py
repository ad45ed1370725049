"""What the table of concrete syntax costs beside libcst alone, and what it costs when nearly nothing has changed.

    .venv/bin/python benchmarks/cst_nodes.py [FOLDER] [--sample BYTES] [--rounds N]

FOLDER is a tree of Python (default: the Django of `main_job.py`). libcst alone: parsing, and the two metadata providers that
the same facts would be asked of, `ByteSpanPositionProvider` and `QualifiedNameProvider`, in one wrapper that does not copy. It
and the stage get the same files, in turns, each in this process; the best round of each counts, in processor time.

Then the stage is run on the whole tree, after an edit of one file (of median size, and the largest one), after every file was
moved, and without a change into another repository of the store. Exits with 1 when the stage costs more than `BOUND` times
what libcst does.

Belongs here: the cost of `cst_nodes`. Not here: the other stages (`stages`).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import corpus
import libcst as cst
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, QualifiedNameProvider

from pipeline.config import Settings
from pipeline.source.scan import scan
from pipeline.stage import Artefact
from pipeline.stages import CST, SOURCE
from pipeline.store.layout import Store, create_store
from pipeline.store.settling import settle
from pipeline.workers import Runtime

BOUND = 1.30
"""Of libcst's own cost."""


def parse_alone(contents: Sequence[bytes]) -> None:
    """libcst's parser."""
    for content in contents:
        cst.parse_module(content)


def libcst_alone(contents: Sequence[bytes]) -> None:
    """libcst's parser and providers."""
    for content in contents:
        wrapper = MetadataWrapper(cst.parse_module(content), unsafe_skip_copy=True)
        wrapper.resolve_many([ByteSpanPositionProvider, QualifiedNameProvider])


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


class Table:
    """The stage in a store of its own: inputs settled, verified and committed as in a build, in one process."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = create_store(folder)

    def build(self, tree: Path, name: str = "tree") -> tuple[float, float, Artefact]:
        """Processor and wall seconds of the stage, and its result. The snapshot before it is not counted."""
        repository, settings = self.store.repository(name), Settings()
        found = scan(tree, settings=settings.source)
        source = settle(repository, SOURCE, {}, settings, externals={"scan": found}).artefacts
        wall, processor = time.perf_counter(), time.process_time()
        made = settle(repository, CST, source, settings, runtime=Runtime(shared=self.store.shared)).artefacts["cst_nodes"]
        return time.process_time() - processor, time.perf_counter() - wall, made


def python_files(root: Path) -> list[Path]:
    """All of them, sorted."""
    return sorted(path for path in root.rglob("*.py") if path.is_file())


def copied(root: Path, files: Sequence[Path], target: Path) -> Path:
    """A folder with these files of a tree."""
    for path in files:
        place = target / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return target


def ratio(root: Path, work: Path, sample: int, rounds: int) -> float:
    """Print the cost of both sides; returns the stage's in that of libcst."""
    everything = python_files(root)
    step = max(1, -(-sum(path.stat().st_size for path in everything) // sample))
    tree = copied(root, everything[::step], work / "sample")
    contents = [path.read_bytes() for path in python_files(tree)]
    times: dict[str, list[float]] = {"parser": [], "parser and providers": [], "cst_nodes": []}
    for number in range(rounds):
        times["parser"].append(seconds(lambda: parse_alone(contents)))
        times["parser and providers"].append(seconds(lambda: libcst_alone(contents)))
        spent, _, made = Table(work / f"store-{number}").build(tree)
        times["cst_nodes"].append(spent)
    print(f"{len(contents)} files, {sum(map(len, contents)) / 1e6:.2f} MB, {made.facts['nodes']:,} nodes\n")
    print("| | processor s | of libcst |\n|---|---:|---:|")
    best = {name: min(spent) for name, spent in times.items()}
    for name, spent in best.items():
        print(f"| {name} | {spent:.2f} | {spent / best['parser and providers']:.2f} |")
    return best["cst_nodes"] / best["parser and providers"]


def changes(root: Path, work: Path) -> None:
    """Print what a build costs by what has changed since the one before."""
    files = python_files(root)
    tree = copied(root, files, work / "tree")
    table = Table(work / "store")
    spent, wall, made = table.build(tree)
    print(f"\n{made.facts['files']} files, {made.facts['nodes']:,} nodes, {made.facts['rejected']} files rejected\n")
    print("| | processor s | wall s |\n|---|---:|---:|")
    print(f"| first build, one process | {spent:.2f} | {wall:.2f} |")
    by_size = sorted((path.stat().st_size, path.relative_to(root)) for path in files)
    for size, path in (by_size[len(by_size) // 2], by_size[-1]):
        with (tree / path).open("ab") as file:
            file.write(b"\n# edited\n")
        spent, wall, _ = table.build(tree)
        print(f"| after an edit of `{path.as_posix()}` ({size:,} bytes) | {spent:.2f} | {wall:.2f} |")
    (tree / "moved").mkdir()
    for entry in [entry for entry in tree.iterdir() if entry.name != "moved"]:
        entry.rename(tree / "moved" / entry.name)
    spent, wall, _ = table.build(tree)
    print(f"| every file moved to another folder | {spent:.2f} | {wall:.2f} |")
    for name, what in (("other", "the same files in another repository"), ("other", "no change")):
        spent, wall, _ = table.build(tree, name)
        print(f"| {what} | {spent:.2f} | {wall:.2f} |")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compares the table of concrete syntax with libcst alone.")
    parser.add_argument("folder", type=Path, nargs="?", help="a tree of Python; by default Django's")
    parser.add_argument("--sample", type=int, default=1_500_000, help="bytes of source to compare on, spread over the folder")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    root = given.folder or corpus.django(Path(__file__).parent / ".work")
    with tempfile.TemporaryDirectory() as name:
        share = ratio(root, Path(name), given.sample, given.rounds)
        changes(root, Path(name))
    verdict = "holds" if share <= BOUND else "is missed"
    print(f"\nThe bound of {BOUND:.2f} times libcst {verdict}: {share:.2f}.")
    return 0 if share <= BOUND else 1


if __name__ == "__main__":
    raise SystemExit(main())
