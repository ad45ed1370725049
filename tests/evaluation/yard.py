"""A small repository with documentation in several forms, and queries about it, for the tests of the evaluator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pipeline import tables
from pipeline.config import SearchSettings, Settings
from pipeline.evaluation.queries import Query, write_queries
from pipeline.evaluation.staged import Engine, staged
from pipeline.index.tuning.locked_point import UNLOCKED
from pipeline.schemas import (
    Chunks,
    Definitions,
    Embeddings,
    EvalQueries,
    FaissIndex,
    LexicalIndex,
    SpladeIndex,
    Tuning,
    XtrIndex,
)
from pipeline.search.opened import Opened
from pipeline.stage import Artefact
from pipeline.store.layout import Store
from pipeline.store.objects import settled
from tests.conftest import World

HULL = "Whether the barnacles were scraped off the keel this spring."
TIDE = "Predict the moment of spring tide.\n\nThe almanac of Ada is used,\nand nothing else."
CRANE = "Hoists a container onto the lorry.\nSwings slowly when gusts blow."
_METHOD = f'    def is_clean(self) -> bool:\n        """{HULL}"""\n        return self.keel > 0\n'
_SHIP = f'class Ship:\n    """A vessel."""\n\n{_METHOD}'
_SHELF = "def put_{0}(item):\n    return shelf_{0}.append(item)\n\n\ndef take_{0}():\n    return shelf_{0}.pop()\n"
_FEES = '    """What a night at the quay costs."""\n    return 4.2 * length\n'
_TIDE_DOC = TIDE.replace("\n", "\n    ").replace("\n    \n", "\n\n")
FILES: Mapping[str, str] = {
    "yard/ships.py": _SHIP,
    "yard/tides.py": f'def spring(hours: float) -> float:\n    """{_TIDE_DOC}\n    """\n    return hours + 12.42\n',
    "yard/fees.py": f"def berth_fee(length: float) -> float:\n{_FEES}",
    "attic/ships.py": _SHIP,
    "web/crane.js": "/**\n * " + CRANE.replace("\n", "\n * ") + "\n */\nfunction lift(box) {\n  return box.up();\n}\n",
    **{f"stores/{name}/shelf.py": _SHELF.format(name) for name in ("rope", "paint", "nails", "canvas", "tar", "lamps")},
}
"""`attic/ships.py` is a copy of `yard/ships.py`."""
READ = (Chunks, Definitions, Embeddings, FaissIndex, Tuning, LexicalIndex, SpladeIndex, XtrIndex)


def artefacts(world: Any) -> list[Artefact[Any]]:
    """What the world's last build settled of all that is read."""
    repository = Store(world.store).repository("demo")
    return [settled(repository, kind) for kind in READ]


@contextmanager
def opened(world: Any, settings: Settings | None = None, **search: Any) -> Iterator[Opened]:
    """The world's artefacts, as they would be published."""
    chosen = settings or Settings(search=SearchSettings(**search))
    with staged(artefacts(world), Engine(chosen.search, chosen.embed, chosen.splade, chosen.xtr), UNLOCKED) as made:
        yield made


def chunks_of(one: Opened, uri: str) -> tuple[int, ...]:
    """The ids of a file's chunks."""
    rows = tables.read_table(one.version.ensure("chunks"), Chunks, ["id", "uri"]).to_pylist()
    return tuple(row["id"] for row in rows if row["uri"] == uri)


def query(one: Opened, text: str, uri: str, **given: Any) -> Query:
    """A query that any chunk of a file answers."""
    ids = chunks_of(one, uri)
    values: dict[str, Any] = {
        "qid": f"{uri}:{text[:20]}", "query": text, "label": "docs", "split": "test", "uri": uri, "symbol": "it",
        "lang": "python", "positives": ids, "answers": (0,) * len(ids),
    }  # fmt: skip
    return Query(**{**values, **given})


def questions(one: Opened) -> list[Query]:
    """Plain and masked queries."""
    plain = [query(one, f"put_{name}", f"stores/{name}/shelf.py", label="name") for name in ("rope", "paint", "nails", "tar")]
    plain += [
        query(one, "what does a night at the quay cost", "yard/fees.py"),
        query(one, "take lamps", "stores/lamps/shelf.py"),
    ]
    masked = [
        query(one, HULL, "yard/ships.py", mask=HULL),
        query(one, TIDE.splitlines()[0], "yard/tides.py", mask=TIDE),
        query(one, CRANE.splitlines()[0], "web/crane.js", mask=CRANE, lang="javascript"),
    ]
    return plain + masked


def many(one: Opened, count: int) -> list[Query]:
    """So many queries, in turns."""
    asked = questions(one)
    return [replace(asked[number % len(asked)], qid=f"q{number}") for number in range(count)]


def queries_artefact(world: Any, folder: Path, asked: list[Query]) -> Artefact[EvalQueries]:
    """These queries as an artefact in a folder of their own."""
    folder.mkdir()
    write_queries(folder, asked)
    return replace(settled(Store(world.store).repository("demo"), EvalQueries), path=folder)


def builtins(document: msgspec.Struct) -> dict[str, Any]:
    """A document as plain values."""
    made: dict[str, Any] = msgspec.to_builtins(document)
    return made


def build(folder: Path, indexctl: Any, **env: str) -> World:
    """The repository and its store, built into a folder."""
    world = World(folder / "demo", folder / "store", indexctl)
    for name, text in FILES.items():
        path = world.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    done = world.build(env={"CODEINTEL_SCIP": "off", "CODEINTEL_CST": "false", **env})
    assert done.code == 0, done.err
    return world
