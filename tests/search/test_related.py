"""What is near a chunk: each tie is found in both directions, told by its symbols, and missed where its source is broken."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.errors import NotFoundError, QueryError
from pipeline.search.channels.registry import State
from pipeline.search.engine import Filters, Hit, Searcher, open_searcher
from pipeline.search.related import DUPLICATES, SYMBOLS, VECTORS, WEIGHTS, related
from pipeline.store.layout import Store

_GRID = (
    '"""Grids."""\n\n\ndef polar_grid(rings):\n    """Points on rings."""\n    return [(ring, 0) for ring in range(rings)]\n'
)
FILES = {
    "lib/__init__.py": "",
    "lib/shapes.py": (
        '"""Outlines."""\n\n\nclass Shape:\n    """Whatever has an outline."""\n\n'
        "    def area(self):\n        raise NotImplementedError\n"
    ),
    "lib/discs.py": (
        "from lib.grid import polar_grid\nfrom lib.shapes import Shape\n\n\nclass Disc(Shape):\n"
        "    def area(self):\n        return len(polar_grid(3)) * common()\n\n\ndef common():\n    return 3\n"
    ),
    "lib/grid.py": _GRID,
    "old/grid.py": _GRID,
    "tests/test_points.py": (
        "from lib.grid import polar_grid\n\n\ndef test_three_rings_have_three_points():\n    assert len(polar_grid(3)) == 3\n"
    ),
    "web/app.js": "function drawQuay(ships) {\n  return ships.map((ship) => ship.name);\n}\n",
    **{
        f"lib/filler{number}.py": f"from lib.discs import common\n\n\ndef filler_{number}():\n    return common() + {number}\n"
        for number in range(12)
    },
}


def build(root: Path, indexctl: Any, *arguments: str) -> Path:
    for name, text in FILES.items():
        path = root / "shapes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = indexctl("build", root / "shapes", "--data", root / "store", "--json", "--ephemeral", *arguments)
    assert done.code == 0, done.err
    return root / "store"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Path:
    return build(tmp_path_factory.mktemp("related"), indexctl)


def open_store(store: Path) -> Searcher:
    return open_searcher(Store(store).repository("shapes"), Settings())


@pytest.fixture
def searcher(store: Path) -> Iterator[Searcher]:
    with open_store(store) as opened:
        yield opened


def chunk_of(searcher: Searcher, uri: str) -> int:
    files = searcher.opened.files.files
    rows = files.files == files.uris.index(uri)
    return int(files.ids[rows][files.ordinals[rows].argmin()])


def near(searcher: Searcher, uri: str, k: int = 50) -> dict[str, Hit]:
    """The results for the first chunk of a file, by file."""
    return {hit.uri: hit for hit in reversed(related(searcher, chunk_of(searcher, uri), k).hits)}


@pytest.mark.parametrize(
    ("uri", "other", "relation", "symbol"),
    [
        ("lib/discs.py", "lib/shapes.py", "extends", "Shape"),
        ("lib/shapes.py", "lib/discs.py", "extended by", "Shape"),
        ("lib/discs.py", "lib/grid.py", "calls", "polar_grid"),
        ("lib/grid.py", "lib/discs.py", "called by", "polar_grid"),
        ("lib/grid.py", "tests/test_points.py", "called by", "polar_grid"),
        ("tests/test_points.py", "lib/grid.py", "calls", "polar_grid"),
    ],
)
def test_a_tie_is_told_from_both_of_its_ends(searcher: Searcher, uri: str, other: str, relation: str, symbol: str) -> None:
    tie = near(searcher, uri)[other].channels[relation]
    assert symbol in tie.symbols and tie.rank is not None and 0 < tie.contribution <= WEIGHTS[relation]


def test_a_subclass_has_its_base_and_a_test_what_it_tests_first(searcher: Searcher) -> None:
    assert related(searcher, chunk_of(searcher, "tests/test_points.py"), 1).hits[0].uri == "lib/grid.py"
    first_two = related(searcher, chunk_of(searcher, "lib/discs.py"), 2).hits
    assert {hit.uri for hit in first_two} == {"lib/shapes.py", "lib/grid.py"}


def test_what_many_refer_to_ties_less_than_what_few_do(searcher: Searcher) -> None:
    hits = near(searcher, "lib/discs.py")
    rare, often = hits["lib/grid.py"].channels["calls"], hits["lib/filler3.py"].channels["called by"]
    assert rare.score > 2 * often.score and rare.contribution > often.contribution


def test_a_result_is_worth_what_its_channels_give(searcher: Searcher) -> None:
    hits = related(searcher, chunk_of(searcher, "lib/discs.py"), 50).hits
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for hit in hits:
        assert hit.score == pytest.approx(sum(channel.contribution for channel in hit.channels.values()))


def test_itself_and_exact_duplicates_are_no_results_and_duplicates_are_told(searcher: Searcher) -> None:
    chunk, copy = chunk_of(searcher, "lib/grid.py"), chunk_of(searcher, "old/grid.py")
    found = related(searcher, chunk, 100)
    assert {chunk, copy}.isdisjoint(hit.id for hit in found.hits)
    assert [row["id"] for row in found.duplicates] == [copy] and found.duplicates[0]["uri"] == "old/grid.py"
    assert found.sources[DUPLICATES].found == 1 and found.chunk["id"] == chunk
    assert related(searcher, chunk_of(searcher, "lib/shapes.py")).duplicates == []


def test_filters_hold_and_k_is_the_most(searcher: Searcher) -> None:
    chunk = chunk_of(searcher, "lib/discs.py")
    assert {hit.lang for hit in related(searcher, chunk, 50, Filters(lang=("javascript",))).hits} == {"javascript"}
    assert {hit.uri for hit in related(searcher, chunk, 50, Filters(path=("tests/",))).hits} == {"tests/test_points.py"}
    assert related(searcher, chunk, 50, Filters(path=("nowhere/",))).hits == []
    many = related(searcher, chunk, 9).hits
    assert [hit.id for hit in related(searcher, chunk, 3).hits] == [hit.id for hit in many[:3]]


def test_what_cannot_be_asked_is_refused(searcher: Searcher) -> None:
    chunk = chunk_of(searcher, "lib/discs.py")
    for unknown in (0, chunk + 1, -chunk, (1 << 63) - 1):
        with pytest.raises(NotFoundError, match=str(unknown)):
            related(searcher, unknown)
    for k in (0, -1, 10_001):
        with pytest.raises(QueryError):
            related(searcher, chunk, k)
    with pytest.raises(QueryError, match="klingon"):
        related(searcher, chunk, filters=Filters(lang=("klingon",)))


def test_no_embedder_is_asked(searcher: Searcher) -> None:
    near(searcher, "lib/discs.py")
    assert not searcher.opened.holds("embedder")


def test_symbols_from_syntax_alone_tie_too(tmp_path: Path, indexctl: Any) -> None:
    with open_store(build(tmp_path, indexctl, "--no-scip")) as searcher:
        tested = related(searcher, chunk_of(searcher, "tests/test_points.py"), 3)
        assert "lib/discs.py" in {hit.uri for hit in tested.hits}
        shape = near(searcher, "lib/discs.py")["lib/shapes.py"]
        assert {"uses", "imports", "extends"} & shape.channels.keys()


@pytest.mark.parametrize(
    ("damaged", "source"),
    [
        ("faiss.index", VECTORS),
        ("chunk_symbols/part-000.parquet", SYMBOLS),
        ("chunks/part-000.parquet", DUPLICATES),
    ],
)
def test_what_is_damaged_is_told_and_the_rest_answers(store: Path, tmp_path: Path, damaged: str, source: str) -> None:
    copy = shutil.copytree(store, tmp_path / "store", symlinks=True)
    with open_store(copy) as searcher:
        path = searcher.version.path / damaged
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[: len(content) // 2])
        found = related(searcher, chunk_of(searcher, "lib/discs.py"))
        told = found.sources[source]
        assert told.state is State.BROKEN and told.reason and told.as_json()["reason"] == told.reason
        assert found.hits and all(found.sources[name].state is State.ANSWERED for name in {VECTORS, SYMBOLS} - {source})
        assert all(source not in hit.channels for hit in found.hits)


def test_a_version_without_symbols_says_so(store: Path) -> None:
    with open_store(store) as searcher:
        del searcher.version.manifest.artefacts["chunk_symbols"]
        found = related(searcher, chunk_of(searcher, "lib/discs.py"))
        assert found.sources[SYMBOLS].state is State.OFF and "without symbols" in found.sources[SYMBOLS].reason
        assert found.hits
