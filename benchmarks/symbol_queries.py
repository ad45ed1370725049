"""What a question about a symbol costs, warm and cold, and whether its answer is right, on the source of Django.

    .venv/bin/python benchmarks/symbol_queries.py [--work DIR] [--source DIR --store DIR] [--rounds N] [--cold N]

Without `--source`, Django is downloaded and built into the work folder (kept for the next time). Prints a Markdown table; exits
with 1 when a bound is missed or a place is wrong. Warm figures are wall time of one call in this process, every name (or chunk)
in each of the rounds; cold ones are whole processes.

What `QuerySet.filter` must answer comes from Python's own parser; every place of every answer is held against the bytes of its
file.

Belongs here: symbol queries. Not here: searches and builds (`main_job`).
"""

from __future__ import annotations

import argparse
import ast
import gc
import json
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import corpus
from measure import environment, run

from pipeline.catalog.describe import around_chunk, describe
from pipeline.catalog.hydrate import hydrate
from pipeline.catalog.lookup import find_symbols
from pipeline.catalog.symbol_table import SymbolTable, read_symbols
from pipeline.catalog.views import connect
from pipeline.index.lexical import LexicalReader
from pipeline.schemas import Chunks
from pipeline.store.layout import open_store
from pipeline.store.versions import open_version
from pipeline.tables import read_table

SYMBOLS = 20
"""Of one name, as `indexctl symbols` describes them."""
WARM_BOUND = 0.010
"""Seconds; of the median and of the 95th percentile."""
NAMES = (
    "QuerySet.filter Model.save get filter HttpRequest path settings Field CharField ForeignKey QuerySet Manager reverse "
    "render include redirect login authenticate User Form.is_valid ModelAdmin __init__ request name models gettext_lazy "
    "_ getattr len cached_property _filter_or_exclude HttpResponse.status_code transaction.atomic "
    "django.db.models.query.QuerySet.filter django/db/models/query.py::QuerySet::exclude QuerySet#get "
    "queryset.FILTER filt x QuerySet.self Foo.self A.s Model.svae NoSuchNameAnywhere 日本"
).split()
COLD_NAMES = ("QuerySet.filter", "get", "QuerySet.fliter")
CHUNKS = 200


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds of many runs of one thing."""

    what: str
    seconds: Sequence[float]
    bounded: bool = True

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        return sorted(self.seconds)[min(math.ceil(0.95 * len(self.seconds)), len(self.seconds)) - 1]

    @property
    def held(self) -> bool:
        return not self.bounded or max(self.median, self.p95) < WARM_BOUND

    def __str__(self) -> str:
        figures = (self.median, self.p95, max(self.seconds))
        bound = ("yes" if self.held else "**no**") if self.bounded else "–"
        return f"| {self.what} | {len(self.seconds):,} | {' | '.join(f'{1e3 * one:.2f}' for one in figures)} | {bound} |"


def main() -> int:
    parser = argparse.ArgumentParser(description="What a question about a symbol costs.")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work")
    parser.add_argument("--source", type=Path, help="A repository that is built already.")
    parser.add_argument("--store", type=Path, help="The store that it is built into.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--cold", type=int, default=5, help="Processes for each cold figure.")
    given = parser.parse_args()
    source = given.source or corpus.django(given.work)
    store = given.store or given.work / "stores" / "symbols"
    if given.store is None:
        corpus.say("Building …")
        build = [Path(sys.executable).parent / "indexctl", "build", source, "--data", store]
        run(build, env=environment({"CODEINTEL_CST": "false"}))
    [repository] = open_store(store.absolute()).repositories()
    with open_version(repository) as version:
        folder = version.ensure(*version.manifest.artefacts)
        return report(folder, source, store, given.rounds, given.cold)


def report(folder: Path, source: Path, store: Path, rounds: int, cold: int) -> int:
    """Measure and check; the exit code."""
    before, started = resident(), time.perf_counter()
    table = read_symbols(folder)
    read = time.perf_counter() - started
    chunks = sampled(folder)
    lines = [*warm(folder, table, chunks, rounds), *colds(store, str(chunks[0]["id"]), cold)]
    problems = [*wrong_places(table, source), *wrong_filter(table, source)]
    print("| | runs | median ms | p95 ms | worst ms | under 10 ms |\n|---|--:|--:|--:|--:|:--|")
    print(*lines, sep="\n")
    print(
        f"\n{len(NAMES)} names, {len(table.symbols):,} symbols, {len(table.places.line):,} occurrences. Reading them took "
        f"{1e3 * read:.0f} ms; they hold {table.nbytes / 2**20:.1f} MiB, and the process grew by {resident() - before:.0f} MiB."
    )
    print(
        "\n".join(problems)
        if problems
        else f"\nEvery place of {len(NAMES)} names stands in its line; `QuerySet.filter` is right."
    )
    return int(bool(problems) or not all(line.held for line in lines))


def sampled(folder: Path) -> list[dict[str, Any]]:
    """Chunks from all over, as `show` fetches them."""
    ids = read_table(folder, Chunks, ["id"])["id"].to_pylist()
    with connect(folder) as connection:
        columns = ("id", "uri", "start_byte", "content")
        found: list[dict[str, Any]] = hydrate(connection, ids[:: max(1, len(ids) // CHUNKS)], columns).to_pylist()
    return found


def warm(folder: Path, table: SymbolTable, chunks: list[dict[str, Any]], rounds: int) -> Iterator[Line]:
    """Calls in this process, after one round that is not counted."""
    reader = LexicalReader(folder)
    yield Line("what the symbol channel of a search asks", timed(lambda name: reader.defining(name, 100), NAMES, rounds))
    yield Line("`symbols NAME`: the whole answer", timed(lambda name: answers(table, name, 20), NAMES, rounds))
    yield Line("around_chunk", timed(lambda chunk: around_chunk(table, chunk), chunks, max(1, rounds // 4)))
    reader.close()


def answers(table: SymbolTable, name: str, k: int) -> list[dict[str, Any]]:
    """What `indexctl symbols NAME -k K` puts together."""
    return describe(table, find_symbols(table, name)[:SYMBOLS], k=k)


def timed(work: Callable[[Any], object], questions: Sequence[Any], rounds: int) -> list[float]:
    """Seconds of every call, of all rounds but the first."""
    seconds = []
    gc.collect()
    for number in range(rounds + 1):
        for question in questions:
            started = time.perf_counter()
            work(question)
            if number:
                seconds.append(time.perf_counter() - started)
    return seconds


def colds(store: Path, chunk: str, times: int) -> Iterator[Line]:
    """Whole processes; the first of each is not counted."""
    program = [Path(sys.executable).parent / "indexctl"]
    for arguments in (*(("symbols", name) for name in COLD_NAMES), ("show", chunk)):
        # A name that is not found is an answer, too, but one that exits with 3.
        command = ["sh", "-c", '"$@" || test $? = 3', "sh", *program, *arguments, "--data", store]
        runs = [run(command, env=environment()) for _ in range(times + 1)][1:]
        what = f"`indexctl {' '.join(arguments)}`" if arguments[0] == "symbols" else "`indexctl show ID`"
        yield Line(f"{what}: a process", [one.wall for one in runs], bounded=False)
        yield Line(f"{what}: its processor time", [one.cpu for one in runs], bounded=False)


def wrong_places(table: SymbolTable, source: Path) -> Iterator[str]:
    """Places of any answer that are beyond their file or in another line."""
    contents: dict[str, bytes] = {}
    for name in NAMES:
        for symbol in answers(table, name, 1_000_000):
            for place in (*symbol["definitions"], *symbol["references"]):
                content = contents.setdefault(place["uri"], (source / place["uri"]).read_bytes())
                # An empty file has a module, at byte 0.
                line = len(re.findall(rb"\r\n|\r|\n", content[: place["start_byte"]])) + 1
                if place["line"] != line or not 0 <= place["start_byte"] <= place["end_byte"] <= len(content):
                    yield f"WRONG: {name}: {place} stands in line {line}."


def wrong_filter(table: SymbolTable, source: Path) -> Iterator[str]:
    """What `QuerySet.filter` should answer and does not."""
    uri = "django/db/models/query.py"
    content = (source / uri).read_bytes()
    [query_set] = [node for node in ast.parse(content).body if isinstance(node, ast.ClassDef) and node.name == "QuerySet"]
    methods = [node for node in query_set.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    defined = [(uri, method.lineno) for method in methods if method.name == "filter"]
    # What `self` is, the parser cannot know beyond the methods of the class itself.
    calls = {
        (uri, node.end_lineno): f"QuerySet.{method.name}"
        for method in methods
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and node.attr == "filter" and ast.unparse(node.value) == "self"
    }
    found = [one for one in answers(table, "QuerySet.filter", 1_000_000) if one["definitions"]]
    if [[(place["uri"], place["line"]) for place in one["definitions"]] for one in found] != [defined]:
        yield f"WRONG: QuerySet.filter is defined at {defined}, and these were found: {json.dumps(found)[:2000]}"
        return
    [answer] = found
    referred = {(place["uri"], place["line"]) for place in answer["references"]}
    if missing := calls.keys() - referred:
        yield f"WRONG: QuerySet.filter is used at {sorted(missing)} as well."
    if unnamed := set(calls.values()) - {caller["qualified_name"] for caller in answer["callers"]}:
        yield f"WRONG: QuerySet.filter is called by {sorted(unnamed)} as well."
    for place in (*answer["definitions"], *answer["references"]):
        spelt = (source / place["uri"]).read_bytes()[place["start_byte"] : place["end_byte"]]
        if spelt != b"filter":
            yield f"WRONG: {place} spells {spelt!r}."
    if not calls:
        yield "WRONG: nothing in QuerySet calls self.filter, so nothing was compared."


def resident() -> float:
    """MiB of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
