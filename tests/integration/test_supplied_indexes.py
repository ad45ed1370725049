"""Indexes from elsewhere: of another state or repository, damaged or hostile. What fits is taken, the rest is named."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.catalog.losses import losses
from pipeline.config import ScipSettings
from pipeline.errors import CodeIntelError, IndexFormatError
from pipeline.schemas import Files, ScipOccurrences, Sources
from pipeline.stage import Artefact, Base, Output
from pipeline.structure.scip.stage import scip_index
from pipeline.structure.scip.tables_stage import scip_tables
from pipeline.structure.stage import syntax
from pipeline.workers import Runtime
from tests.structure.scip.listed import files_of

GEO = {
    "geo/__init__.py": "",
    "geo/shape.py": (
        '"""Shapes."""\n\n\nclass Shape:\n    def area(self, width):\n        height = width\n        return height * width\n'
        "\n\ndef unit():\n    return Shape()\n"
    ),
    # Refers and defines nothing.
    "geo/use.py": "from geo.shape import Shape, unit\n\nunit().area(1)\nprint(Shape, unit)\n",
    "geo/same.py": "def same():\n    return same()\n",
}
ALPHA = "def alpha():\n    return beta()\n\n\ndef beta():\n    return 1\n"
Span = tuple[str, int, int, str]


def artefact(path: Path) -> Artefact[Any]:
    return Artefact(repo="r", asset="a", key="k", path=path, schema="", digest="", lineage={})


def build(root: Path, files: dict[str, str], index: Path | None = None) -> tuple[set[Span], dict[str, str]]:
    """Precise occurrences as (uri, start, end, symbol), and what was lost by uri; from an index, or from `ty-scip`."""
    uris = sorted(files)
    rows = pa.table({
        "uri": pa.array(uris), "lang": pa.array(["python"] * len(uris)).dictionary_encode(),
        "content": pa.array([files[uri].encode() for uri in uris], pa.binary()),
    })  # fmt: skip
    tables.write_part(root / "src" / Sources.name, Sources, 0, rows)
    tables.write_part(root / "src" / Files.name, Files, 0, files_of(rows))
    source = artefact(root / "src")
    syntax(source, Runtime(), Output(root / "ast"), Output(root / "def"))
    settings = ScipSettings(scip_files=(f"python={index}",) if index else ())
    scip_index(source, Base(), settings, Runtime(), Output(root / "index"))
    inputs = (artefact(root / "index"), source, artefact(root / "ast"), artefact(root / "def"))
    scip_tables(*inputs, Runtime(), Output(root / "tables"), Output(root / "tables"))
    found = tables.read_table(root / "tables", ScipOccurrences).to_pylist()
    for row in found:
        assert 0 <= row["start_byte"] <= row["end_byte"] <= len(files[row["uri"]].encode())
    lost = {row["uri"]: row["reason"] for where in ("index", "tables") for row in losses(root / where).to_pylist()}
    spans = {(row["uri"], row["start_byte"], row["end_byte"], row["symbol"]) for row in found if row["provenance"] == "scip"}
    return spans, lost


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Span]]:
    """An index of `GEO`, and what it says."""
    root = tmp_path_factory.mktemp("first")
    spans, lost = build(root, GEO)
    assert not lost
    return root / "index" / "scip" / "python.scip", spans


@pytest.mark.parametrize(
    ("uri", "edit", "lost"),
    [
        ("geo/shape.py", lambda text: "# new\n" + text, True),
        ("geo/shape.py", lambda text: "\n" + text, True),
        ("geo/shape.py", lambda text: text.replace("        height", "\n        height"), True),
        ("geo/shape.py", lambda text: text.replace("class Shape:\n", "class Shape:\n    x = 1\n"), True),
        ("geo/shape.py", lambda text: text.replace("unit", "many"), True),
        ("geo/shape.py", lambda text: text[:60], True),
        ("geo/shape.py", lambda text: "", True),
        ("geo/use.py", lambda text: "# new\n" + text, True),
        ("geo/use.py", lambda text: text.replace("\n\n", "\n"), True),
        ("geo/use.py", lambda text: text.replace("Shape, unit\n", "unit, Shape\n"), True),
        ("geo/use.py", lambda text: text.replace("print(", "print (", 1), True),
        ("geo/same.py", lambda text: text + "\n\ndef more(): pass\n", False),
        ("geo/same.py", lambda text: text.replace("\n", "\r\n"), False),
    ],
)
def test_an_index_of_another_commit_gives_no_place_that_its_file_does_not_have(
    uri: str, edit: Callable[[str], str], lost: bool, first: tuple[Path, set[Span]], tmp_path: Path
) -> None:
    index, said = first
    now = {**GEO, uri: edit(GEO[uri])}
    found, told = build(tmp_path / "old", now, index)
    assert {span for span in found if span[0] != uri} == {span for span in said if span[0] != uri}
    mine = {span for span in found if span[0] == uri}
    if lost:
        assert list(told) == [uri] and ("another state" in told[uri] or "outside" in told[uri])
        assert not mine
    else:
        known, _ = build(tmp_path / "new", now)
        assert told == {} and mine and mine <= known


def test_an_index_of_another_repository_describes_nothing_and_every_file_is_named(
    first: tuple[Path, set[Span]], tmp_path: Path
) -> None:
    found, told = build(tmp_path, {"a.py": ALPHA, "b/c.py": "x = 1\n"}, first[0])
    assert not found
    assert {uri for uri, reason in told.items() if reason == "the index says nothing of it"} == {"a.py", "b/c.py"}
    assert {uri for uri, reason in told.items() if reason == "the snapshot has no such file"} == set(GEO)


def index_of(*documents: dict[str, Any], tool: str = "ty-scip") -> dict[str, Any]:
    return {"metadata": {"tool_info": {"name": tool, "version": "1"}}, "documents": list(documents)}


def document(path: str, *occurrences: tuple[list[Any], str]) -> dict[str, Any]:
    """A document; what ends with `!` is a definition."""
    rows = [
        {"range": place, "symbol": f"s p m v `a`/{name.rstrip('!')}", "symbol_roles": int(name.endswith("!"))}
        for place, name in occurrences
    ]
    return {"relative_path": path, "occurrences": rows, "position_encoding": 1}


GOOD = document("a.py", ([0, 4, 9], "alpha().!"), ([4, 4, 8], "beta().!"), ([1, 11, 15], "beta()."))


def take(tmp_path: Path, index: dict[str, Any] | bytes, name: str = "index.json") -> tuple[set[Span], dict[str, str]]:
    (tmp_path / name).write_bytes(index if isinstance(index, bytes) else json.dumps(index).encode())
    return build(tmp_path / "built", {"a.py": ALPHA}, tmp_path / name)


@pytest.mark.parametrize(
    ("documents", "lost"),
    [
        ([document("/etc/passwd", ([0, 0, 1], "x.")), document("../../up.py", ([0, 0, 1], "x.")), GOOD], {
            "/etc/passwd": "the snapshot has no such file", "../../up.py": "the snapshot has no such file"}),
        ([GOOD, GOOD], {"a.py": "the index describes it twice"}),
        ([{**GOOD, "relative_path": "./b/../a.py"}], {}),
    ],
)  # fmt: skip
def test_documents_that_lead_elsewhere_or_come_twice_are_named_and_the_others_taken(
    documents: list[dict[str, Any]], lost: dict[str, str], tmp_path: Path
) -> None:
    found, told = take(tmp_path, index_of(*documents))
    assert len(found) == 3 and told == lost


@pytest.mark.parametrize(
    "content",
    [
        document("a.py"),
        document("a.py", ([0, 4, 9], "alpha().!"), ([2147483647, 0, 2147483647], "x.")),
        document("a.py", ([0, 4, 2147483647], "alpha().!")),
        document("a.py", ([4, 8, 0, 4], "beta().!")),
        document("a.py", ([0, 4, 9], "x" * (1 << 20) + "().!")),
        document("a.py", ([0, 4, 9], "gamma().!")),
        document("a.py", ([0, 4, 8], "alph().!")),
        document("a.py", ([0, 3, 9], "alpha().!")),
        document("a.py", *[([1, 11, 15], "beta().")] * 99, ([1, 11, 14], "beta().")),
        document("a.py", *[([0, 4, 9], "alpha().!")] * 99, ([4, 4, 8], "gamma().!")),
    ],
    ids=[
        "empty",
        "beyond",
        "long",
        "backwards",
        "megabyte",
        "named-otherwise",
        "half-a-word",
        "with-a-space",
        "one-word-of-many",
        "one-name-of-many",
    ],
)
def test_a_document_that_does_not_fit_its_file_is_left_out_with_its_reason(content: dict[str, Any], tmp_path: Path) -> None:
    found, told = take(tmp_path, index_of(content))
    assert not found and list(told) == ["a.py"] and told["a.py"]


@pytest.mark.parametrize(
    ("tool", "name", "place"),
    [
        ("scip-typescript", "alpha0:!", [0, 4, 9]),
        ("scip-typescript", "`<get>alpha`().!", [0, 4, 9]),
        ("scip-typescript", "`<constructor>`().!", [0, 4, 9]),
        ("scip-java", "getAlpha().!", [0, 4, 9]),
    ],
)
def test_names_that_a_tool_writes_in_its_own_way_are_no_misfits(tool: str, name: str, place: list[int], tmp_path: Path) -> None:
    others = [([4, 4, 8], "beta().!")] * 2
    found, told = take(tmp_path, index_of(document("a.py", (place, name), *others), tool=tool))
    assert found and not told


SOUND = json.dumps(index_of(GOOD)).encode()
CAMEL = SOUND.replace(b"tool_info", b"toolInfo").replace(b"relative_path", b"relativePath").replace(b"_roles", b"Roles")
_OCCURRENCE = b"\n\x03\x00\x04\t\x12\x14s p m v `a`/alpha().\x18\x01"
_DOCUMENT = b"\n\x04a.py\x12" + bytes([len(_OCCURRENCE)]) + _OCCURRENCE
TOOL, DOCUMENT = b"\n\x0b\x12\t\n\x07ty-scip", b"\x12" + bytes([len(_DOCUMENT)]) + _DOCUMENT
"""Metadata and one document of an index in protobuf."""
BROKEN: dict[str, bytes] = {
    "empty": b"",
    **{f"cut-{at}": (TOOL + DOCUMENT)[:at] for at in (1, 5, len(TOOL) - 1, len(TOOL) + 1, len(TOOL + DOCUMENT) - 1)},
    "random": random.Random(1).randbytes(4000),
    "metadata-and-random": TOOL + random.Random(2).randbytes(4000),
    "no-metadata": DOCUMENT,
    "groups": b"\x0b" * 1_000_000,
    "nested-groups": TOOL + b"\x12" + b"\x86\x89\x7a" + b"\n\x04a.py" + b"\x13" * 1_000_000 + b"\x14" * 1_000_000,
    "negative": json.dumps(index_of(document("a.py", ([-1, 0, 1], "x.")))).encode(),
    "one-number": json.dumps(index_of(document("a.py", ([0], "x.")))).encode(),
    "beyond-64-bits": json.dumps(index_of(document("a.py", ([0, 4, 10**20], "x.")))).encode(),
    "no-path": json.dumps(index_of(document("", ([0, 4, 9], "x.")))).encode(),
    "text-for-a-number": json.dumps(index_of(document("a.py", ([0, "4", 9], "x.")))).encode(),
    **{f"json-{at}": SOUND[:at] for at in (1, 40, 120, len(SOUND) - 1)},
    **{f"camel-{at}": CAMEL[:at] for at in (1, 40, 120, len(CAMEL) - 1)},
    "other-json": b'{"a": [1, 2]}',
    "list": b"[1, 2]",
    "deep": b'{"documents": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
    "documents-for-a-list": b'{"metadata": {"tool_info": {"name": "x"}}, "documents": {}}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_sound_index_is_refused_with_its_own_name_and_the_place(name: str, tmp_path: Path) -> None:
    suffix = ".json" if BROKEN[name][:1] in (b"{", b"[") else ".scip"
    with pytest.raises(IndexFormatError) as caught:
        take(tmp_path, BROKEN[name], f"given{suffix}")
    said = str(caught.value)
    assert str(tmp_path / f"given{suffix}") in said and "byte " in said and str(tmp_path / "built") not in said
    assert len(said) < 600 and said.count("\n") == 0


def test_both_dialects_of_json_and_protobuf_say_the_same(tmp_path: Path) -> None:
    assert CAMEL != SOUND
    taken = []
    for name, data in (("snake.json", SOUND), ("camel.json", CAMEL), ("index.scip", TOOL + DOCUMENT)):
        (tmp_path / name).mkdir()
        taken.append(take(tmp_path / name, data, name)[0])
    assert taken[0] == taken[1] and len(taken[0]) == 3
    assert taken[2] == {("a.py", 4, 9, "s p m v `a`/alpha().")}


def test_a_refused_index_leaves_what_is_published_and_says_what_to_do(world: Any, tmp_path: Path) -> None:
    before = world.version
    (tmp_path / "cut.scip").write_bytes((TOOL + DOCUMENT)[:-5])
    (tmp_path / "a,b.scip").write_bytes(TOOL + DOCUMENT)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for given, code, said in (
        ("cut.scip", 1, f"{tmp_path / 'cut.scip'} ends early"),
        ("folder", 2, "no SCIP index"),
        ("none.scip", 2, "no SCIP index"),
        ("pipe", 2, "no SCIP index"),
        ("a,b.scip", 2, "comma"),
    ):
        done = world("build", world.repo, "--ephemeral", "--quiet", "--scip", f"python={tmp_path / given}")
        assert done.code == code and said in done.err and done.err.count("\n") == 1, (given, done.err)
    assert world.version == before and world("verify").code == 0


def test_a_file_of_very_many_functions_costs_its_references_and_says_so(tmp_path: Path) -> None:
    text = "".join(f"def f{number}(): f0(f1)\n" for number in range(25_100))
    found, told = build(tmp_path, {"many.py": text, "few.py": "def few(): pass\n"})
    assert {span[0] for span in found} == {"few.py"}
    assert told == {"many.py": "it has more than 50000 references"}
    rows = tables.read_table(tmp_path / "tables", ScipOccurrences, ["is_definition", "provenance"]).to_pylist()
    assert sum(row["is_definition"] for row in rows if row["provenance"] == "syntax") == 25_100


def test_errors_of_the_stage_are_ours(tmp_path: Path) -> None:
    with pytest.raises(CodeIntelError):
        build(tmp_path, {"a.py": ALPHA}, tmp_path)
