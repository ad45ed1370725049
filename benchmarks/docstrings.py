"""From a docstring to the function it describes: how well each channel, and their fusion, finds code by intent.

    .venv/bin/python benchmarks/docstrings.py [PATH] [--most 1500] [--work DIR]

Every docstring of a Python tree is a query (its first paragraph), after all docstrings have been taken out of the files, so
that the text itself cannot be found. The answer is a chunk that holds the first line of the definition. Prints MRR@10 by
channel and by the weights of the lexical fields; without PATH the tree is Django's, of `main_job.py`.

Belongs here: the one measurement that weights and texts in `embed`, `index` and `search` refer to. Not here: speed.
"""

from __future__ import annotations

import argparse
import ast
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import corpus

from pipeline.config import Settings
from pipeline.index.lexical import FieldBoosts
from pipeline.release.publication import publish
from pipeline.search.engine import Searcher, open_searcher
from pipeline.source.scan import scan
from pipeline.stage import Artefact, External
from pipeline.stages import STAGES, identity_of, plan_keys
from pipeline.store.layout import create_store
from pipeline.store.objects import settle
from pipeline.workers import Runtime, worker_count

K = 10


@dataclass(frozen=True, slots=True)
class Query:
    """A docstring, and where the definition that it describes starts in the file without docstrings."""

    text: str
    uri: str
    line: int


def strip(source: str, uri: str) -> tuple[str, list[Query]]:
    """The file with every docstring's text replaced by blanks of the same shape, so that no line moves; and the queries."""
    lines = source.splitlines(keepends=True)
    queries = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        text = ast.get_docstring(node)
        if not text:
            continue
        body = node.body[0]
        for number in range(body.lineno - 1, body.end_lineno or body.lineno):
            ending = "\n" if lines[number].endswith("\n") else ""
            lines[number] = ("..." if number == body.lineno - 1 else "").rjust(body.col_offset + 3) + ending
        paragraph = " ".join(text.split("\n\n")[0].split())
        if not isinstance(node, ast.Module) and len(paragraph.split()) >= 4:
            queries.append(Query(paragraph, uri, node.lineno))
    return "".join(lines), queries


def stripped_copy(root: Path, target: Path) -> list[Query]:
    """Write the tree's Python files without docstrings; returns all queries. Files that do not parse are left out."""
    queries: list[Query] = []
    for path in sorted(root.rglob("*.py")):
        uri = path.relative_to(root).as_posix()
        try:
            text, found = strip(path.read_text("utf-8"), uri)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        place = target / uri
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
        queries.extend(found)
    return queries


def build(tree: Path, work: Path) -> Searcher:
    """Index a tree with the engine's stages, publish it, and open it."""
    store = create_store(work / "store")
    repository = store.repository("docstrings")
    settings = Settings()
    scanned = scan(tree, settings=settings.source)
    identity = identity_of(settings, repository, None, False, plan_keys(settings, scanned))
    externals: dict[str, External] = {"scan": scanned, "identity": identity}
    made: dict[str, Artefact] = {}
    for stage in STAGES:
        inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
        needed = {name: externals[name] for name in stage.externals}
        made |= settle(repository, stage, inputs, settings, externals=needed, runtime=Runtime(workers=worker_count())).artefacts
    publish(repository, made["manifest"])
    return open_searcher(repository, settings)


def ways(searcher: Searcher) -> Iterator[tuple[str, Callable[[str], Sequence[int]]]]:
    """(name, function from a query to chunk ids, best first)."""
    searcher.open()

    def lexical(boosts: FieldBoosts) -> Callable[[str], Sequence[int]]:
        return lambda text: [int(one) for one in searcher.lexical.search(text, K, boosts=boosts).ids]

    def dense(text: str) -> Sequence[int]:
        return [int(one) for one in searcher.vectors.search(searcher.embedder.encode_queries([text]), K)[0][0]]

    yield "dense", dense
    yield "lexical, body alone", lexical(FieldBoosts(names=0, path=0, file_name=0))
    for names in (0.5, 1.0, 2.0):
        yield f"lexical, names × {names:g}", lexical(FieldBoosts(names=names))
    yield "fused (the default)", lambda text: [hit.id for hit in searcher.search(text, K)]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Docstring to definition: MRR@10 of each channel and of their fusion.")
    parser.add_argument("path", nargs="?", type=Path, help="a tree of Python files")
    parser.add_argument("--most", type=int, default=1500, help="queries at most, drawn with a fixed seed")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="where Django is downloaded to")
    given = parser.parse_args()
    root = given.path or corpus.django(given.work.resolve())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        queries = stripped_copy(root, work / "tree")
        random.Random(0).shuffle(queries)
        queries = queries[: given.most]
        with build(work / "tree", work) as searcher:
            print(f"{len(queries)} queries, {len(searcher.lexical)} chunks\n")
            print(f"| way | MRR@{K} | first | in {K} |\n|---|---:|---:|---:|")
            for name, find in ways(searcher):
                ranks = [rank_of(searcher, find(query.text), query) for query in queries]
                found = [rank for rank in ranks if rank]
                share = [sum(1 / rank for rank in found), sum(rank == 1 for rank in found), len(found)]
                print(f"| {name} | " + " | ".join(f"{value / len(queries):.3f}" for value in share) + " |")
    return 0


def rank_of(searcher: Searcher, ids: Sequence[int], query: Query) -> int:
    """1-based rank of the first chunk that holds the definition's first line; 0 when none does."""
    for rank, row in enumerate(searcher.lexical.documents(ids), 1):
        if row["uri"] == query.uri and row["start_line"] <= query.line <= row["end_line"]:
            return rank
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
