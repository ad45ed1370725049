"""How many segments the lexical index should have: what each costs a search, and what many save a small build.

    .venv/bin/python benchmarks/lexical_segments.py [PATH] [--copies 1,3,16] [--segments 1,8,16,32,64] [--rounds 5]

PATH is a folder of source (default: the Django of `main_job.py`); `--copies` indexes it so many times under other paths. The
documents are the same for every number of segments, and so are all answers: that is checked. Numbers of segments are
measured in turns, because machines are noisy. `one edit` makes one of the segments again, as an edited file does. Bold is the
number that a build takes (`group_count`).

Belongs here: segments. Not here: whole searches (`search_latency`), whole builds (`incremental`).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from unittest import mock

import corpus

from pipeline import artefacts, tables
from pipeline.artefacts import Earlier, Output
from pipeline.config import Settings
from pipeline.index import lexical_rows, lexical_stage
from pipeline.index.lexical import Hits, LexicalReader
from pipeline.index.lexical_stage import lexical_index
from pipeline.schemas import Chunks, LexicalIndex
from pipeline.source.scan import scan
from pipeline.stage import External
from pipeline.stages import STAGES
from pipeline.store.layout import create_store
from pipeline.store.settling import settle
from pipeline.workers import Runtime, crew, worker_count

Artefact: TypeAlias = artefacts.Artefact[Any]
T = TypeVar("T")

NEEDED = ("source_snapshot", "syntax", "chunks")
NAMES = ("QuerySet", "filter", "get_or_create", "quersyet", "HttpRespons", "Model.Meta.ordering", "as_sql", "nothinglikethis")
"""As written, with a slip, the start of one, with what it stands in, and nowhere."""
_LIMIT = 100


def chunked(source: Path, data: Path) -> dict[str, Artefact]:
    """The tables of a folder, up to its chunks."""
    store, settings = create_store(data), Settings()
    scanned = scan(source, settings=settings.source, skip=store.root)
    known: dict[str, External] = {"scan": scanned}
    made: dict[str, Artefact] = {}
    repository = store.repository("r")
    with crew(worker_count()):
        for stage in (stage for stage in STAGES if stage.name in NEEDED):
            inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
            externals = {name: known[name] for name in stage.externals}
            runtime = Runtime(workers=worker_count(), shared=store.shared)
            made |= settle(repository, stage, inputs, settings, externals=externals, runtime=runtime).artefacts
    return made


def built(made: Mapping[str, Artefact], segments: int, out: Path, earlier: Earlier | None = None) -> tuple[float, Artefact]:
    """An index of so many segments in `out`, and the seconds that it took in one process that has met no word before."""
    out.mkdir(parents=True)
    lexical_rows._spelled.clear()
    with mock.patch.object(lexical_stage, "group_count", lambda parts: min(parts, segments)):
        started = time.perf_counter()
        lexical_index(made["chunks"], made["definitions"], Runtime(earlier=earlier), Output(out))
        seconds = time.perf_counter() - started
    return seconds, artefacts.Artefact("r", LexicalIndex.asset, "k", out, LexicalIndex.tag(), "", {})


def one_edit(made: Mapping[str, Artefact], segments: int, before: Artefact, out: Path) -> float:
    """Seconds of an index for which one part is said to have changed."""
    digests = dict(made["chunks"].digests)
    digests[min(path for path in digests if path.startswith(f"{Chunks.name}/part-"))] = "another"
    earlier = Earlier({LexicalIndex.asset: before}, {**made, "chunks": replace(made["chunks"], digests=digests)})
    return statistics.median(built(made, segments, out / str(turn), earlier)[0] for turn in range(3))


def medians(asked: Mapping[int, T], ask: Callable[[T], object], rounds: int) -> dict[int, float]:
    """Milliseconds of one question, by the number of segments."""
    spent: dict[int, list[float]] = defaultdict(list)
    for one in asked.values():
        ask(one)
    for _ in range(rounds):
        for segments, one in asked.items():
            started = time.perf_counter()
            ask(one)
            spent[segments].append((time.perf_counter() - started) * 1e3)
    return {segments: statistics.median(times) for segments, times in spent.items()}


def over(asked: Mapping[int, T], questions: Sequence[Callable[[T], object]], rounds: int) -> dict[int, float]:
    """The median of many questions, in milliseconds."""
    each = [medians(asked, question, rounds) for question in questions]
    return {segments: statistics.median(one[segments] for one in each) for segments in asked}


def same(readers: Mapping[int, LexicalReader]) -> bool:
    """Whether every number of segments gives the answers of the others, scores bit for bit."""
    answers = set()
    for reader in readers.values():
        found = [reader.search(query, _LIMIT) for query in corpus.QUERIES] + [reader.defining(name, _LIMIT) for name in NAMES]
        answers.add(tuple((hits.ids.tobytes(), hits.scores.tobytes()) for hits in found))
    return len(answers) == 1


def table(source: Path, copies: int, segments: Sequence[int], rounds: int, work: Path) -> bool:
    """Print what is measured over some copies of a folder; whether all answers were the same."""
    tree = work / "tree"
    for copy in range(copies):
        shutil.copytree(source, tree / f"copy{copy}", ignore=shutil.ignore_patterns(".git"))
    made = chunked(tree, work / "store")
    parts = len(tables.parts(made["chunks"].path, Chunks))
    asked = sorted({min(parts, number) for number in segments})
    whole = {number: built(made, number, work / "index" / str(number)) for number in asked}
    edits = {number: one_edit(made, number, index, work / "edit" / str(number)) for number, (_, index) in whole.items()}
    readers = {number: LexicalReader(index.path) for number, (_, index) in whole.items()}
    rows = {
        "build, s": {number: seconds for number, (seconds, _) in whole.items()},
        "one edit, s": edits,
        "opening, ms": over({number: index.path for number, (_, index) in whole.items()}, [LexicalReader], rounds),
        "words, ms": over(readers, [partial(_words, query=query) for query in corpus.QUERIES], rounds),
        "names, ms": over(readers, [partial(_names, name=name) for name in NAMES], rounds),
    }
    chosen = lexical_stage.group_count(parts)
    print(f"\n{len(next(iter(readers.values()))):,} chunks in {parts} parts\n")
    print("| segments | " + " | ".join(f"**{number}**" if number == chosen else str(number) for number in asked) + " |")
    print("|---|" + "---:|" * len(asked))
    for title, values in rows.items():
        print(f"| {title} | " + " | ".join(f"{values[number]:.2f}" for number in asked) + " |")
    return same(readers)


def _words(reader: LexicalReader, query: str) -> Hits:
    return reader.search(query, _LIMIT)


def _names(reader: LexicalReader, name: str) -> Hits:
    return reader.defining(name, _LIMIT)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Costs of the segments of the lexical index.")
    parser.add_argument("path", type=Path, nargs="?", help="a folder of source (default: Django, fetched into the work folder)")
    parser.add_argument("--copies", default="1,3,16", help="how often it is indexed, with commas")
    parser.add_argument("--segments", default="1,8,16,32,64", help="numbers of segments, with commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="downloads")
    given = parser.parse_args()
    source = (given.path or corpus.django(given.work.resolve())).resolve()
    good = True
    for copies in map(int, given.copies.split(",")):
        with tempfile.TemporaryDirectory(prefix="codeintel-segments-") as folder:
            segments = [int(number) for number in given.segments.split(",")]
            good &= table(source, copies, segments, given.rounds, Path(folder))
    print("\nAll answers are the same." if good else "\nAnswers differ!")
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
