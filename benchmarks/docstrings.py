"""From a docstring to the function it describes: how well each channel, and their fusion, finds code by intent.

    .venv/bin/python benchmarks/docstrings.py [PATH …] [--most 1500] [--fields] [--work DIR]

Every docstring of a function or class of a Python tree is a query (its first paragraph), after all docstrings have been taken
out of the files, so that the text itself cannot be found. Tests are searched, but ask nothing: what they say of themselves
(`Regression test related to gh-7465`) is not what people look for. The answer is a chunk that holds the first line of the
definition. Prints MRR@10 of each channel alone, of BM25 with all text in one field, and of the fusion; without PATH for
Django, networkx and scikit-learn. Indexes are kept. Exits with 1 where the fusion does not beat every channel, and one field by
a fifth.

Belongs here: the one measurement that weights and texts in `embed`, `index` and `search` refer to. Not here: speed, labels made
by people (`code_search`).
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import shutil
import statistics
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import corpus
import tantivy
from code_search import DEFAULT, variants
from indexed import searcher_of
from scoring import K, show_interval

from pipeline import tables
from pipeline.config import SearchSettings
from pipeline.embed import words
from pipeline.index import lexical
from pipeline.index.lexical import FieldBoosts
from pipeline.schemas import Chunks
from pipeline.search.engine import Searcher

PACKAGES = (corpus.DJANGO, "networkx==3.6.1", "scikit-learn==1.9.1")
SHAPE = 2
"""Rises when trees or queries are made differently."""
MARGIN = 1.2
"""What the fusion's MRR must at least be, in those of BM25 over one field."""
ONE_FIELD = "BM25, all text in one field"
_GIVEN = {"scip": "off", "cst": False}
"""Search reads neither, and libcst takes long."""
Find = Callable[[str], Sequence[int]]


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
    """Write the tree's Python files without docstrings; returns all queries but those of tests.

    Files that do not parse are left out.
    """
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
        if not is_test(uri):
            queries.extend(found)
    return queries


def is_test(uri: str) -> bool:
    """Whether a Python file holds tests, by where it lies and what it is called."""
    *folders, name = uri.split("/")
    return not {"test", "tests"}.isdisjoint(folders) or name.startswith("test_") or name == "conftest.py"


def prepared(work: Path, requirement: str, root: Path | None = None) -> tuple[Path, list[Query]]:
    """The stripped tree of a wheel (made once), or of a folder (made anew), as a git repository; and its queries."""
    home = work / f"docstrings-{SHAPE}" / requirement
    tree, asked = home / "tree", home / "queries.json"
    if root is not None or not asked.is_file():
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir(parents=True)
        if root is None:
            root = home / "unpacked"
            with zipfile.ZipFile(corpus.download(work, requirement)) as wheel:
                wheel.extractall(root)
        queries = stripped_copy(root, tree)
        shutil.rmtree(home / "unpacked", ignore_errors=True)
        corpus.commit(tree, requirement)
        asked.write_text(json.dumps([astuple(query) for query in queries]))
    return tree, [Query(*row) for row in json.loads(asked.read_text())]


def one_field(searcher: Searcher) -> Find:
    """BM25 over one field that holds a chunk's path and text, with the words, stems and stop words of the lexical index."""
    folder = searcher.version.ensure("chunks")
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name=lexical.ANALYZER, index_option="freq")
    builder.add_integer_field("id", indexed=True, fast=True)
    schema = builder.build()
    index = tantivy.Index(schema)
    index.register_tokenizer(lexical.ANALYZER, lexical.analyzer())
    writer = index.writer(1 << 28, num_threads=1)
    for part in tables.parts(folder, Chunks):
        table = tables.read_part(part, Chunks, ["id", "uri", "content"])
        for identifier, uri, content in zip(*(table[name].to_pylist() for name in ("id", "uri", "content")), strict=True):
            document = tantivy.Document()
            document.add_integer("id", identifier)
            document.add_text("text", " ".join(term for run in words.runs(f"{uri} {content}") for term in words.terms(run)))
            writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    opened = index.searcher()

    def find(text: str) -> Sequence[int]:
        terms = [tantivy.Query.term_query(schema, "text", term, "freq") for term in searcher.opened.lexical.terms(text)]
        hits = opened.search(tantivy.Query.boolean_query([(tantivy.Occur.Should, term) for term in terms]), K, count=False).hits
        return opened.fast_field_values("id", [address for _, address in hits])

    return find


def ways(searcher: Searcher, *, fields: bool) -> Iterator[tuple[str, Find]]:
    """(name, function from a query to chunk ids, best first)."""

    def under(settings: SearchSettings) -> Find:
        def find(text: str) -> Sequence[int]:
            searcher.opened.settings = settings
            return [hit.id for hit in searcher.search(text, K) if hit.score > 0]

        return find

    def with_boosts(boosts: FieldBoosts) -> Find:
        return lambda text: searcher.opened.lexical.search(text, K, boosts=boosts).ids.tolist()

    for name, settings in variants(searcher).items():
        if name == DEFAULT or name.endswith(" alone"):
            yield name, under(settings)
    yield ONE_FIELD, one_field(searcher)
    if fields:
        yield "lexical, body alone", with_boosts(FieldBoosts(names=0, path=0, file_name=0))
        for names in (0.5, 1.0, 2.0):
            yield f"lexical, names × {names:g}", with_boosts(FieldBoosts(names=names))


def reciprocal_rank(searcher: Searcher, ids: Sequence[int], query: Query) -> float:
    """1 / rank of the first chunk that holds the definition's first line; 0 when none does."""
    for rank, row in enumerate(searcher.opened.lexical.documents(ids), 1):
        if row["uri"] == query.uri and row["start_line"] <= query.line <= row["end_line"]:
            return 1 / rank
    return 0.0


def measure(searcher: Searcher, queries: Sequence[Query], *, fields: bool) -> bool:
    """Print a package's table; whether the fusion is as good as it must be."""
    found = {
        name: [reciprocal_rank(searcher, find(query.text), query) for query in queries]
        for name, find in ways(searcher, fields=fields)
    }
    means = {name: statistics.fmean(values) for name, values in found.items()}
    print(f"\n| way | MRR@{K} (95 %) | in {K} | all channels beat it by (95 %, paired) |\n|---|---:|---:|---:|")
    for name, values in found.items():
        gained = [ours - theirs for ours, theirs in zip(found[DEFAULT], values, strict=True)]
        share = sum(value > 0 for value in values) / len(values)
        beaten = "" if name == DEFAULT else show_interval(gained, signed=True)
        print(f"| {name} | {show_interval(values)} | {share:.3f} | {beaten} |")
    ratio = means[DEFAULT] / means[ONE_FIELD] if means[ONE_FIELD] else float("inf")
    print(f"\nAll channels: {ratio:.2f} times one field (the bound is {MARGIN}).")
    return ratio >= MARGIN and all(means[DEFAULT] > mean for name, mean in means.items() if name != DEFAULT)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Docstring to definition: MRR@10 of each channel and of their fusion.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="trees of Python files instead of the packages")
    parser.add_argument("--most", type=int, default=1500, help="queries at most of each tree, drawn with a fixed seed")
    parser.add_argument("--fields", action="store_true", help="also the lexical channel by the weights of its fields")
    parser.add_argument(
        "--work", type=Path, default=Path(__file__).parent / ".work", help="where downloads and indexes are kept"
    )
    given = parser.parse_args()
    work = given.work.resolve()
    good = True
    wanted = [(path.resolve().name, path.resolve()) for path in given.paths] or [(one, None) for one in PACKAGES]
    for requirement, root in wanted:
        tree, queries = prepared(work, requirement, root)
        random.Random(0).shuffle(queries)
        queries = queries[: given.most]
        if not queries:
            sys.exit(f"No function of {requirement} has a docstring of four words.")
        with searcher_of(tree, requirement.partition("==")[0], _GIVEN) as searcher:
            print(f"\n{requirement}: {len(queries)} queries, {len(searcher.opened.lexical)} chunks")
            good &= measure(searcher, queries, fields=given.fields)
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
