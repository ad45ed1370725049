"""The stage: one table of chunks that gives back every file, named and previewed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import workers
from pipeline.chunks import ids
from pipeline.chunks.stage import STAGE, chunks
from pipeline.config import ChunkSettings
from pipeline.errors import IndexCorruptionError, InvariantViolationError
from pipeline.schemas import AstNodes, Chunks, Definitions
from pipeline.source import text
from pipeline.stage import Output
from pipeline.tables import part_path, read_part, read_table, write_part
from pipeline.workers import Runtime

FUNCTION = "def {0}():\n    return [" + "'{0}', " * 8 + "]\n\n\n"
FILES: dict[str, bytes] = {
    "a.py": ("import os\n\n\n" + "".join(FUNCTION.format(f"name{i}") for i in range(8))).encode(),
    "empty.py": b"",
    "blank.txt": b" \n\n\t\n",
    "crlf.py": FUNCTION.format("windows").replace("\n", "\r\n").encode() * 4,
    "cr.py": FUNCTION.format("mac").replace("\n", "\r").encode() * 4,
    "bom.py": b"\xef\xbb\xbf" + FUNCTION.format("bom").encode() * 3,
    "latin.py": "# -*- coding: latin-1 -*-\ntext = 'é'\n".encode("latin-1") + ("# " + "é" * 60 + "\n").encode("latin-1") * 9,
    "japanese.py": ("# coding: shift_jis\ntext = '" + "漢字かな" * 100 + "'\nlast = 'ア'\n").encode("shift_jis"),
    "nul.txt": b"a\x00b\n" * 100,
    "long.js": b"var x = '" + "aé€😀".encode() * 500 + b"'\n",
    "docs/guide.md": ("# Guide\n\nIntro.\n\n## Install\n\n" + "Type this.\n" * 20 + "\n```sh\n# no heading\n```\n").encode(),
    "two.yaml": ("---\nfirst:\n" + "  - item value\n" * 12 + "---\nsecond:\n" + "  - item value\n" * 12).encode(),
    "array.json": ("[\n" + ",\n".join(f'  {{"id": {i}, "value": "some text"}}' for i in range(20)) + "\n]\n").encode(),
    "keys.json": ("{\n" + ",\n".join(f'  "key{i}": ["some text", "other text", {i}]' for i in range(20)) + "\n}\n").encode(),
    "keys.toml": (
        "title = 'x'\n\n" + "".join(f"[table.n{i}]\nvalue = 'some text'\nother = {i}\n\n" for i in range(9))
    ).encode(),
    "notes.unknown": ("a paragraph of words\n" * 3 + "\n").encode() * 6,
    "garbage.rb": bytes(range(256)) * 4,
}
SETTINGS = ChunkSettings(chunk_budget=100)
Build = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def build(world: Callable[..., Any], tmp_path: Path) -> Build:
    def run(files: dict[str, bytes], settings: ChunkSettings = SETTINGS, parts: int = 1) -> list[dict[str, Any]]:
        out = tmp_path / "out"
        chunks(*world(files, parts), settings, Runtime(), Output(out))
        return read_table(out, Chunks).to_pylist()

    return run


def test_chunks_give_back_every_file_with_right_lines_hashes_and_text(build: Build) -> None:
    found = defaultdict(list)
    for row in build(FILES, parts=2):
        found[row["uri"]].append(row)
    assert set(found) == set(FILES) - {"empty.py"}
    for uri, rows in found.items():
        content = FILES[uri]
        starts = text.line_starts(content)
        assert [row["start_byte"] for row in rows] == [0, *(row["end_byte"] for row in rows[:-1])]
        assert rows[-1]["end_byte"] == len(content)
        for row in rows:
            piece = content[row["start_byte"] : row["end_byte"]]
            assert len(b"".join(piece.split())) <= 100
            assert row["content_hash"] == ids.hash64(piece)
            assert row["start_line"] == text.line_of(starts, row["start_byte"])
            assert row["end_line"] == text.line_of(starts, row["end_byte"] - 1)
            assert len(row["preview"]) <= 160
            assert row["preview"].isprintable()
        whole = text.decode(content, rows[0]["lang"])
        if whole is not None:
            assert "".join(row["content"] for row in rows) == whole


def test_a_chunk_that_ends_with_a_line_break_ends_on_that_line(build: Build) -> None:
    [row] = build({"a.py": b"x = 1\ny = 2\n"})
    assert (row["start_line"], row["end_line"]) == (1, 2)


@pytest.mark.parametrize("strategy", ["content", "span", "sequence"])
def test_ids_are_unique_and_positive_and_equal_in_every_build(build: Build, strategy: str) -> None:
    settings = ChunkSettings(chunk_budget=100, id_strategy=strategy)
    first = [row["id"] for row in build(FILES, settings, parts=4)]
    assert len(set(first)) == len(first)
    assert min(first) > 0
    assert first == [row["id"] for row in build(FILES, settings, parts=4)]
    if strategy == "sequence":
        assert first == list(range(1, len(first) + 1))


def test_an_edit_elsewhere_in_the_file_moves_no_content_id(build: Build) -> None:
    before = {row["name"]: row["id"] for row in build(FILES) if row["uri"] == "a.py"}
    edited = FILES["a.py"].replace(b"import os\n", b"import os\nimport re\nimport sys\n").replace(b"name3", b"other")
    after = {row["name"]: row["id"] for row in build(FILES | {"a.py": edited}) if row["uri"] == "a.py"}
    assert {before[f"name{i}"] == after[f"name{i}"] for i in (1, 2, 4, 5, 6, 7)} == {True}


def test_equal_chunks_of_one_file_have_ids_of_their_own(build: Build) -> None:
    rows = build({"a.py": FUNCTION.format("same").encode() * 3})
    assert len({row["content_hash"] for row in rows}) == 1
    assert len({row["id"] for row in rows}) == 3


def test_a_collision_names_both_places(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "make_id", lambda *fields: 7)
    with pytest.raises(InvariantViolationError, match=r"id 7: a\.py line 1 and b\.py line 1"):
        build({"a.py": b"x = 1\n", "b.py": b"x = 2\n"})


def test_one_and_two_workers_write_the_same_bytes(
    world: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "POOL_THRESHOLD_BYTES", 0)
    inputs = world(FILES, 2)
    facts = [chunks(*inputs, SETTINGS, Runtime(workers=n), Output(tmp_path / str(n))) for n in (1, 2)]
    assert facts[0] == facts[1]
    for part in ("part-000.parquet", "part-001.parquet"):
        assert (tmp_path / "1/chunks" / part).read_bytes() == (tmp_path / "2/chunks" / part).read_bytes()


def test_facts_count_what_was_written(world: Callable[..., Any], tmp_path: Path) -> None:
    facts = chunks(*world(FILES, 2), SETTINGS, Runtime(), Output(tmp_path / "out"))
    assert facts["chunks"] == sum(facts["by_kind"].values()) == sum(facts["by_lang"].values())
    assert facts["bytes"] == sum(map(len, FILES.values()))
    assert 0 < facts["median_size"] <= facts["max_size"] <= 100


def test_no_files_make_an_empty_table(build: Build) -> None:
    assert build({}) == []
    assert build({}, ChunkSettings(id_strategy="sequence")) == []


def test_tables_of_different_snapshots_are_refused(world: Callable[..., Any], tmp_path: Path) -> None:
    source, _, definitions = world(FILES, 2)
    _, nodes, _ = world(FILES, 4)
    (source.path / "sources/part-003.parquet").unlink()
    with pytest.raises(IndexCorruptionError):
        chunks(source, nodes, definitions, SETTINGS, Runtime(), Output(tmp_path / "out"))


def kinds_and_names(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["kind"], row["name"]) for row in rows]


def test_a_chunk_is_named_after_the_definition_that_it_is_about(build: Build) -> None:
    methods = "".join(
        "    " + line for name in "ab" for line in FUNCTION.format(name * 4).replace("\n\n\n", "\n").splitlines(keepends=True)
    )
    source = "import os\n\n" + FUNCTION.format("first") + f"class Large:\n    size = 1\n\n{methods}\n\n" + "X = 1\n" * 30
    assert kinds_and_names(build({"a.py": source.encode()})) == [
        ("function", "first"),
        ("class", "Large"),
        ("function", "Large.bbbb"),
        ("module", ""),
    ]


def test_pieces_of_a_long_function_are_named_after_it(build: Build) -> None:
    rows = build({"a.py": b"def long():\n" + b"    call(argument)\n" * 30})
    assert len(rows) > 2
    assert set(kinds_and_names(rows)) == {("function", "long")}


def test_markdown_is_named_by_heading_and_data_by_key_and_text_not_at_all(build: Build) -> None:
    rows = build(FILES)
    named = {uri: [(row["kind"], row["name"]) for row in rows if row["uri"] == uri] for uri in FILES}
    assert named["docs/guide.md"][0] == ("section", "Guide")
    assert set(named["docs/guide.md"][1:]) == {("section", "Install")}
    assert {("data", "first"), ("data", "second")} == set(named["two.yaml"])
    assert named["keys.json"][0] == ("data", "key0")
    assert ("data", "table.n5") in named["keys.toml"] or ("data", "table.n4") in named["keys.toml"]
    assert set(named["notes.unknown"]) == {("text", "")}


def test_a_file_without_syntax_nodes_is_cut_by_lines(world: Callable[..., Any], tmp_path: Path) -> None:
    source, nodes, definitions = world({"a.py": FILES["a.py"]})
    for artefact, kind in ((nodes, AstNodes), (definitions, Definitions)):
        folder = artefact.path / kind.name
        write_part(folder, kind, 0, read_part(part_path(folder, 0), kind).slice(0, 0))
    chunks(source, nodes, definitions, SETTINGS, Runtime(), Output(tmp_path / "out"))
    rows = read_table(tmp_path / "out", Chunks).to_pylist()
    assert "".join(row["content"] for row in rows).encode() == FILES["a.py"]
    assert set(kinds_and_names(rows)) == {("module", "")}
    assert all(row["content"].endswith("\n") for row in rows)


def test_the_preview_is_the_line_of_the_name_or_the_first_telling_one(build: Build) -> None:
    rows = build(
        {
            "a.py": b"# a comment\n@decorator\ndef name(x):\n    return x\n",
            "b.py": b"\n# why\nx = 1\n",
            "c.txt": b"\n---\n\x07words\n",
        }
    )
    assert [row["preview"] for row in rows] == ["def name(x):", "x = 1", "words"]


def test_the_stage_says_what_it_reads_and_makes() -> None:
    assert STAGE.assets == ("chunks",)
    assert [kind.asset for kind in STAGE.inputs.values()] == ["source_snapshot", "ast_nodes", "definitions"]
    assert [section.__name__ for section in STAGE.sections.values()] == ["ChunkSettings"]


def test_the_columns_are_those_of_the_schema(build: Build, tmp_path: Path) -> None:
    build(FILES)
    assert read_table(tmp_path / "out", Chunks).schema.names == Chunks.schema.names
    assert pa.types.is_uint64(read_table(tmp_path / "out", Chunks).schema.field("content_hash").type)
