"""Settings: defaults, files, environment, and messages that name what is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.config import ChunkSettings, EmbedSettings, Section, Settings, SourceSettings
from pipeline.errors import ConfigError
from pipeline.settings_files import FILE_NAME, from_flat, load


def write(folder: Path, text: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "codeintel.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, tmp_path / "nowhere", environment={}) == Settings()
    assert Settings().flat()["chunk_budget"] == 1500 and Settings().flat()["default_k"] == 10


def test_flat_names_are_unique_and_come_back() -> None:
    flat = Settings().flat()
    assert len(flat) == sum(
        len(msgspec.structs.fields(getattr(Settings(), one.name))) for one in msgspec.structs.fields(Settings)
    )
    assert from_flat(flat, origin="test") == Settings()


def test_a_file_wins_over_defaults_later_files_over_earlier_and_the_environment_over_all(tmp_path: Path) -> None:
    first = write(tmp_path / "a", "chunk_budget = 100\ndefault_k = 3\nid_salt = 'x'\nexclude = ['*.gen', 'out/']\n")
    second = write(tmp_path / "b", "default_k = 4\ndense_weight = 2\n")
    settings = load(first, second, environment={"CODEINTEL_DEFAULT_K": "5", "CODEINTEL_ID_SALT": "y"})
    assert settings.chunks == ChunkSettings(chunk_budget=100, id_salt="y")
    assert settings.search.default_k == 5 and settings.search.dense_weight == 2.0
    assert settings.source.exclude == ("*.gen", "out/")


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("MAX_FILE_BYTES", "2048", "max_file_bytes", 2048),
        ("INCLUDE", "*.py, src/ ,,", "include", ("*.py", "src/")),
        ("EXCLUDE", "", "exclude", ()),
        ("INDEX_VENDORED", "true", "index_vendored", True),
        ("INDEX_VENDORED", "0", "index_vendored", False),
        ("LEXICAL_WEIGHT", "1.5", "lexical_weight", 1.5),
        ("ID_STRATEGY", "span", "id_strategy", "span"),
    ],
)
def test_the_environment_gives_every_type(variable: str, value: str, name: str, expected: Any, tmp_path: Path) -> None:
    assert load(tmp_path, environment={f"CODEINTEL_{variable}": value}).flat()[name] == expected


def test_other_variables_are_not_settings(tmp_path: Path) -> None:
    environment = {"CODEINTEL_DATA": "/x", "CODEINTEL_WORKERS": "2", "CODEINTEL_OTHER": "1", "chunk_budget": "1"}
    assert load(tmp_path, environment=environment) == Settings()


def test_the_environment_of_the_process_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_CHUNK_BUDGET", "99")
    assert load(tmp_path).chunks.chunk_budget == 99


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("chunk_bugdet = 100", "chunk_bugdet"),
        ("[chunks]\nchunk_budget = 100", "chunks"),
        ("chunk_budget = '100'", "chunk_budget"),
        ("chunk_budget = 100.5", "chunk_budget"),
        ("chunk_budget = true", "chunk_budget"),
        ("index_vendored = 1", "index_vendored"),
        ("include = '*.py'", "include"),
        ("include = [1]", "include"),
        ("id_strategy = 'random'", "id_strategy"),
        ("embedder = 'nowhere'", "embedder"),
        ("lexical_weight = [1]", "lexical_weight"),
        ("id_salt = 2026-01-01", "id_salt"),
        ("chunk_budget = 63", "chunk_budget"),
        ("chunk_budget = 65537", "chunk_budget"),
        ("max_file_bytes = 0", "max_file_bytes"),
        ("default_k = -1", "default_k"),
        ("default_k = 10001", "default_k"),
        ("duckdb_threads = 0", "duckdb_threads"),
        ("dense_weight = nan", "dense_weight"),
        ("dense_weight = inf", "dense_weight"),
        ("semantic_min_score = -1.5", "semantic_min_score"),
        ("default_k = 99999999999999999999999", "default_k"),
    ],
)
def test_a_bad_line_is_named_with_its_file(line: str, setting: str, tmp_path: Path) -> None:
    write(tmp_path, line + "\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environment={})
    assert f"`{setting}`" in caught.value.message and str(tmp_path / "codeintel.toml") in caught.value.message
    assert caught.value.exit_code == 2


def test_an_unknown_setting_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, "budget = 1\n")
    with pytest.raises(ConfigError, match="there is no setting `budget`") as caught:
        load(tmp_path, environment={})
    assert "chunk_budget" in caught.value.hint and "lexical_weight" in caught.value.hint


def test_a_value_out_of_range_says_the_range() -> None:
    with pytest.raises(ConfigError, match="`chunk_budget` = 1 is out of range") as caught:
        from_flat({"chunk_budget": 1}, origin="here")
    assert caught.value.hint == "Use 64 to 65536."


@pytest.mark.parametrize(
    ("name", "value"),
    [("CHUNK_BUDGET", "many"), ("CHUNK_BUDGET", ""), ("CHUNK_BUDGET", "1"), ("INDEX_VENDORED", "maybe"), ("ID_STRATEGY", "x")],
)
def test_a_bad_variable_is_named(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"environment: `{name.lower()}`"):
        load(tmp_path, environment={f"CODEINTEL_{name}": value})


@pytest.mark.parametrize("content", [b"chunk_budget = ", b"= 1", b"a = 1\na = 2", b"\xff\xfe", b"id_salt = '\xe9'", b"\x00"])
def test_a_file_that_is_not_toml_is_named(content: bytes, tmp_path: Path) -> None:
    write(tmp_path, content)
    with pytest.raises(ConfigError, match=r"codeintel\.toml is not valid TOML"):
        load(tmp_path, environment={})


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "codeintel.toml").mkdir()
    with pytest.raises(ConfigError, match=r"codeintel\.toml cannot be read: "):
        load(tmp_path, environment={})


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, os.strerror(13), str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(tmp_path, environment={})


def test_sections_are_found_by_their_type() -> None:
    settings = from_flat({"max_file_bytes": 5}, origin="test")
    assert settings.section(SourceSettings) == SourceSettings(max_file_bytes=5)

    class Other(Section, frozen=True, kw_only=True):
        pass

    with pytest.raises(ConfigError, match="Other"):
        settings.section(Other)


@pytest.mark.parametrize("limit", ["lots", "512", "-1MB", "1MB; SET x"])
def test_a_memory_limit_that_duckdb_would_refuse_is_refused_when_settings_are_read(tmp_path: Path, limit: str) -> None:
    (tmp_path / "codeintel.toml").write_text(f'duckdb_memory_limit = "{limit}"\n')
    with pytest.raises(ConfigError, match="duckdb_memory_limit"):
        load(tmp_path, environment={})


@pytest.mark.parametrize("name", ["scip_python", "scip_typescript", "scip_files"])
def test_a_repository_does_not_choose_what_is_run_or_read_on_this_machine(tmp_path: Path, name: str) -> None:
    repository, store = tmp_path / "repository", tmp_path / "store"
    for folder in (repository, store):
        folder.mkdir()
        value = '["python=/tmp/x.scip"]' if name == "scip_files" else '"./x.sh"'
        (folder / FILE_NAME).write_text(f"{name} = {value}\n")
    with pytest.raises(ConfigError, match=f"{name}. cannot be set by a repository") as caught:
        load(store, repository=repository, environment={})
    assert f"CODEINTEL_{name.upper()}" in str(caught.value)
    (repository / FILE_NAME).write_text("chunk_budget = 900\n")
    settings = load(store, repository=repository, environment={})
    assert settings.flat()[name] and settings.chunks.chunk_budget == 900


def test_a_repository_has_no_say_in_how_it_is_embedded(tmp_path: Path) -> None:
    values = {"str": '"x"', "bool": "true", "int": "7"}
    for field in msgspec.structs.fields(EmbedSettings):
        named = {"embedder": '"onnx"', "embed_device": '"cpu"'}
        value = named.get(field.name) or values.get(type(field.default).__name__, '"x"')
        write(tmp_path / field.name, f"{field.name} = {value}\n")
        with pytest.raises(ConfigError, match=f"`{field.name}` cannot be set by a repository"):
            load(repository=tmp_path / field.name, environment={})
        assert field.name in load(tmp_path / field.name, environment={}).flat()


def test_a_prefix_can_be_empty_which_is_not_the_same_as_not_given() -> None:
    assert from_flat({}, origin="test").embed.embed_query_prefix is None
    given = load(environment={"CODEINTEL_EMBED_QUERY_PREFIX": "", "CODEINTEL_EMBED_DOCUMENT_PREFIX": "passage: "}).embed
    assert (given.embed_query_prefix, given.embed_document_prefix) == ("", "passage: ")


def test_what_changes_nothing_that_is_built_or_answered_is_no_part_of_keys_and_versions() -> None:
    beside = from_flat({"embed_timeout": 9, "embed_model": "/models/x", "materialize_idmap": True}, origin="test")
    assert beside.recorded() == Settings().recorded() and beside.embed.keyed() == {"embedder": "static"}
    assert from_flat({"embedder": "onnx"}, origin="test").recorded() != Settings().recorded()
