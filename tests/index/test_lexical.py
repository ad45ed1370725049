"""The lexical index: what finds what, harmless queries, damage, and an untouched directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline.errors import IndexCorruptionError, IndexFormatError, NotFoundError, RuntimeLifecycleError
from pipeline.files import tree_files
from pipeline.index import lexical
from pipeline.index.lexical import FieldBoosts, LexicalReader
from pipeline.schemas import LexicalIndex
from tests.index.lexical_tables import Row, build_index, digests, write_tables

ROWS: list[Row] = [
    (10, "app/models/query.py", "class QuerySet:\n    pass\n", ["QuerySet"]),
    (11, "app/models/query.py", "def latest(self):\n    return self\n", ["latest"]),
    (20, "app/views.py", "use(QuerySet)\nuse(QuerySet)\nuse(QuerySet)\n", []),
    (30, "app/server.py", "def start():\n    return HTTPServer(applying_migrations)\n", ["start"]),
    (40, "docs/über.md", "# Straße und 日本語\n", []),
    (50, "app/hashers.py", "def encode(self): ...\n", ["encode"]),
]


Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Write tables and their index; returns the object's directory."""

    def make(rows: Sequence[Row] = ROWS, name: str = "object") -> Path:
        built = build_index(tmp_path / name, write_tables(tmp_path / f"{name}-in", rows))
        assert built.facts["documents"] == len(rows)
        return built.path

    return make


def found(reader: LexicalReader, query: str, limit: int = 10) -> list[int]:
    return reader.search(query, limit).ids.tolist()


def test_the_definition_outranks_chunks_that_use_the_name(build: Build) -> None:
    reader = LexicalReader(build())
    assert found(reader, "QuerySet")[0] == 10
    only_body = reader.search("QuerySet", 10, boosts=FieldBoosts(names=0, path=0, file_name=0))
    assert only_body.ids[0] == 20


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("HTTPServer", 30),
        ("server http", 30),
        ("http_server", 30),
        ("httpserver", 30),
        ("migration apply", 30),
        ("applied migrations", 30),
        ("queryset", 10),
        ("hashers", 50),
        ("STRASSE straße", 40),
        ("日本語", 40),
        ("über", 40),
    ],
)
def test_parts_wholes_stems_paths_and_other_scripts_are_found(build: Build, query: str, expected: int) -> None:
    assert found(LexicalReader(build()), query)[0] == expected


def test_scores_fall_and_equal_scores_go_by_id(build: Build) -> None:
    same = [(identifier, f"copy{identifier % 7}.py", "def same(): pass", ["same"]) for identifier in (9, 4, 7, 1, 5, 8)]
    reader = LexicalReader(build([*same, (100, "z.py", "same", [])]))
    hits = reader.search("same", 10, boosts=FieldBoosts(path=0, file_name=0))
    assert hits.ids.tolist() == [1, 4, 5, 7, 8, 9, 100]
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == np.float32
    assert (np.diff(hits.scores) <= 0).all()
    for limit in range(1, 8):
        assert reader.search("same", limit, boosts=FieldBoosts(path=0, file_name=0)).ids.tolist() == hits.ids.tolist()[:limit]


def test_an_allow_list_still_fills_the_page(build: Build) -> None:
    rows: list[Row] = [(number, f"f{number}.py", "common " * (number % 5 + 1), []) for number in range(1, 400)]
    reader = LexicalReader(build(rows))
    allowed = np.array([3, 51, 104, 399, 5000], np.int64)
    everything = found(reader, "common", 399)
    assert reader.search("common", 3, allowed=allowed).ids.tolist() == [i for i in everything if i in allowed.tolist()][:3]
    assert len(reader.search("common", 10, allowed=allowed).ids) == 4
    assert len(reader.search("common", 10, allowed=np.empty(0, np.int64)).ids) == 0


def test_rows_come_back_in_the_order_that_was_asked(build: Build) -> None:
    reader = LexicalReader(build())
    rows = reader.documents(np.array([40, 10, 40]))
    assert [row["id"] for row in rows] == [40, 10, 40]
    assert rows[1] == {
        "id": 10,
        "uri": "app/models/query.py",
        "start_line": 1,
        "end_line": 2,
        "lang": "python",
        "kind": "function",
        "name": "QuerySet",
        "preview": "class QueryS",
    }
    assert reader.documents([]) == []
    with pytest.raises(NotFoundError, match="999"):
        reader.documents([10, 999])
    with pytest.raises(NotFoundError):
        reader.documents([2**70])


def test_it_is_told_which_chunks_have_a_document(build: Build) -> None:
    reader = LexicalReader(build())
    assert reader.has(np.array([999, 40, 10, 2**62, -1])).tolist() == [False, True, True, False, False]
    assert reader.has(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize(
    "query",
    [
        '"unclosed AND (OR NOT body:^2 ~5 [a TO',
        'id:10 *:* +-!(){}[]^"~*?:\\/',
        "🦀 🦀",
        "\x00\x01\x1f null\x00byte \ud800",
        "x " * 50_000,
        "word" * 25_000,
        " ".join(f"word{number}" for number in range(20_000)),
        "\u202e\u200b\ufeff",
    ],
)
def test_any_query_is_just_text(build: Build, query: str) -> None:
    reader = LexicalReader(build())
    assert len(reader.terms(query)) <= lexical.MAX_TERMS
    assert len(reader.search(query, 10).ids) <= len(reader)


@pytest.mark.parametrize("query", ["", "   ", "+-*/", "___", "🦀"])
def test_a_query_without_words_finds_nothing(build: Build, query: str) -> None:
    hits = LexicalReader(build()).search(query, 10)
    assert hits.ids.shape == hits.scores.shape == (0,)


def test_function_words_count_only_where_there_is_nothing_else(build: Build) -> None:
    reader = LexicalReader(build([(1, "a.py", "for x in xs: if not x: continue", []), (2, "b.py", "migrate()", [])]))
    assert reader.terms("how are migrations applied") == ["migrat", "appli"]
    assert found(reader, "if not in for") == [1]
    assert found(reader, "is migrate") == [2]


def test_equal_tables_give_equal_files_and_other_tables_other_files(build: Build) -> None:
    assert digests(build(name="first")) == digests(build(name="second"))
    assert digests(build(name="third")) != digests(build(ROWS[1:], name="fourth"))


def test_a_name_belongs_to_the_chunk_that_its_definition_starts_in(build: Build) -> None:
    rows: list[Row] = [
        (1, "a.py", "first text", ["alpha", "beta"]),
        (2, "a.py", "second text", []),
        (3, "a.py", "third text", ["gamma"]),
        (4, "b.py", "fourth text", ["delta"]),
        (5, "0.py", "fifth text", []),
    ]
    reader = LexicalReader(build(rows))
    assert [found(reader, name) for name in ("alpha", "beta", "gamma", "delta")] == [[1], [1], [3], [4]]


@pytest.mark.parametrize(
    ("name", "qualified", "terms"),
    [
        ("ordering", "Model.Meta.ordering", ["ordering", "Meta.ordering", "Model.Meta.ordering", "meta.ordering"]),
        ("QuerySet", "QuerySet", ["QuerySet", "queryset"]),
        ("main", "main", ["main"]),
        ("it", "Title.Install `it`", ["it"]),
        ("", "", []),
    ],
)
def test_a_definition_is_found_by_its_name_and_every_ending_of_its_path(name: str, qualified: str, terms: list[str]) -> None:
    found = lexical.defined_terms(name, qualified)
    assert len(set(found)) == len(found) and set(found) >= set(terms) and (len(found) > 0) == bool(name)
    assert {term.lower() for term in found} <= set(found)


def test_the_chunks_that_define_a_name_are_found_by_it_alone(build: Build) -> None:
    reader = LexicalReader(build())
    assert reader.defining("QuerySet", 10).ids.tolist() == reader.defining("queryset", 10).ids.tolist() == [10]
    assert reader.defining("QuerySet", 10).scores.tolist() == [lexical.EXACT]
    assert reader.defining("QUERYSET", 10).scores.tolist() == [lexical.NEAR]
    assert reader.defining("Query", 10).scores.tolist() == [lexical.PREFIX]
    assert reader.defining("applying_migrations", 10).ids.tolist() == []
    assert reader.defining("start", 0).ids.tolist() == []
    assert reader.defining("start", 10, allowed=np.array([10, 20], np.int64)).ids.tolist() == []
    assert reader.defining("start", 10, allowed=np.array([10, 30], np.int64)).ids.tolist() == [30]


def test_an_index_is_a_segment_a_group_without_lock_files(build: Build) -> None:
    root = build()
    names = [path.name for path in (root / LexicalIndex.DIRECTORY).iterdir()]
    assert not [name for name in names if "lock" in name]
    described = msgspec.json.decode((root / LexicalIndex.META).read_bytes())
    assert described["documents"] == len(ROWS)
    assert set(described) == {"version", "documents", "fields", "tantivy", "analyzer", "groups"}
    listed = [segment["name"] for group in described["groups"] for segment in group]
    assert [[segment["documents"] for segment in group] for group in described["groups"]] == [[len(ROWS)], []]
    assert {name.partition(".")[0] for name in names if name.endswith(".store")} == set(listed)


def test_reading_leaves_a_read_only_version_and_the_temporary_folder_as_they_were(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, private = build(), tmp_path / "private"
    private.mkdir()
    monkeypatch.setenv("TMPDIR", str(private))
    monkeypatch.setattr("tempfile.tempdir", str(private))
    before = [path.name for path in tree_files(root)]
    for folder in (root, root / LexicalIndex.DIRECTORY):
        folder.chmod(0o555)
    try:
        with LexicalReader(root) as reader:
            assert found(reader, "QuerySet")[0] == 10
            assert not list(private.iterdir())
            assert reader.documents([10])[0]["name"] == "QuerySet"
        assert [path.name for path in tree_files(root)] == before
    finally:
        for folder in (root, root / LexicalIndex.DIRECTORY):
            folder.chmod(0o755)


def test_a_lock_file_that_comes_back_while_the_private_folder_is_removed_does_no_harm(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, private = build(), tmp_path / "private"
    private.mkdir()
    monkeypatch.setenv("TMPDIR", str(private))
    monkeypatch.setattr("tempfile.tempdir", str(private))
    real, late = shutil.rmtree, [".tantivy-meta.lock"] * 3

    def removed_but_for_a_late_file(folder: Path, **options: object) -> None:
        if late:
            (folder / late.pop()).touch()  # As Tantivy's watching thread does between the listing and the end.
        else:
            real(folder)

    monkeypatch.setattr(shutil, "rmtree", removed_but_for_a_late_file)
    with LexicalReader(root) as reader:
        assert found(reader, "QuerySet")[0] == 10
    assert not late and not list(private.iterdir())


def test_threads_get_the_answers_of_one(build: Build) -> None:
    reader = LexicalReader(build())
    queries = ["QuerySet", "http server", "日本語", "encode", "return self"] * 20
    expected = [found(reader, query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: found(reader, query), queries)) == expected


def test_an_empty_corpus_has_an_index_that_finds_nothing(build: Build) -> None:
    reader = LexicalReader(build([]))
    assert len(reader) == 0
    assert found(reader, "anything") == []


@pytest.mark.parametrize("suffix", [".idx", ".term", ".store", ".fast", ".fieldnorm", "meta.json"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.98])
def test_a_truncated_file_is_named_as_damage(build: Build, suffix: str, keep: float) -> None:
    root = build()
    path = next(path for path in (root / LexicalIndex.DIRECTORY).iterdir() if path.name.endswith(suffix))
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(IndexCorruptionError):
        reader = LexicalReader(root)
        reader.search("QuerySet", 10)
        reader.documents([10])


def test_a_temporary_folder_that_cannot_be_written_is_not_called_damage(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = build()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(RuntimeLifecycleError, match="temporary"):
        LexicalReader(root)


def test_links_are_made_in_memory_only_where_there_is_a_place_for_them(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, memory = build(), tmp_path / "memory"
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(lexical, "_IN_MEMORY", str(memory))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        assert found(LexicalReader(root), "QuerySet")[0] == 10
        assert not list(tmp_path.glob("*/codeintel-lexical-*")) and not list(tmp_path.glob("codeintel-lexical-*"))
        memory.mkdir(exist_ok=True)


@pytest.mark.parametrize("gone", ["lexical.meta.json", "lexical/meta.json", "lexical"])
def test_a_missing_file_is_named_as_damage(build: Build, gone: str) -> None:
    root = build()
    (root / gone).rename(root / "elsewhere")
    with pytest.raises(IndexCorruptionError):
        LexicalReader(root)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": lexical.FORMAT + 1}, IndexFormatError),
        ({"analyzer": "x"}, IndexFormatError),
        ({"documents": 5}, IndexCorruptionError),
    ],
)
def test_a_description_that_does_not_fit_is_refused(build: Build, changes: dict[str, object], error: type[Exception]) -> None:
    path = build() / LexicalIndex.META
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changes))
    with pytest.raises(error):
        LexicalReader(path.parent)


def test_a_search_process_needs_no_arrow_and_uses_the_names_of_the_schema() -> None:
    assert (lexical.DIRECTORY, lexical.META) == (LexicalIndex.DIRECTORY, LexicalIndex.META)
    script = "import sys, pipeline.index.lexical; assert not {'pyarrow', 'duckdb', 'faiss', 'tokenizers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
