"""Settings as people give them: `codeintel.toml` in the repository or the store, and the environment."""

from __future__ import annotations

from typing import Any

import pytest


def indexed(world: Any) -> set[str]:
    return {row["uri"] for row in world("sql", "SELECT uri FROM files WHERE status = 'indexed'", "--json").jsons}


def test_the_repositorys_settings_change_what_is_built(world: Any) -> None:
    (world.repo / "codeintel.toml").write_text('exclude = ["web/"]\nid_strategy = "sequence"\nchunk_budget = 64\n')
    chunks = world("status", "--json").json["repos"][0]["chunks"]
    done = world.build()
    assert done.code == 0, done.err
    assert "web/app.js" not in indexed(world)
    rows = world("sql", "SELECT id, uri FROM chunks ORDER BY uri, start_byte", "--json").jsons
    assert len(rows) > chunks
    assert len({row["id"] for row in rows}) == len(rows)
    assert {int(row["id"]) for row in rows} <= set(range(2 * len(rows)))
    assert world("verify").code == 0
    assert world("show", world("search", "berth fee", "--json").json["results"][0]["id"]).code == 0


def test_the_stores_settings_win_over_the_repositorys_and_the_environment_over_both(world: Any) -> None:
    (world.repo / "codeintel.toml").write_text('exclude = ["web/"]\ndefault_k = 3\n')
    (world.store / "codeintel.toml").write_text('exclude = ["*.md"]\ndefault_k = 2\n')
    world.build()
    assert "README.md" not in indexed(world) and "web/app.js" in indexed(world)
    assert len(world("search", "harbour", "--json").json["results"]) == 2
    assert len(world("search", "harbour", "--json", env={"CODEINTEL_DEFAULT_K": "1"}).json["results"]) == 1
    world.build(env={"CODEINTEL_EXCLUDE": "*.toml,harbour/"})
    assert indexed(world) == {".gitignore", "README.md", "web/app.js"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("chunk_bugdet = 10\n", "chunk_bugdet"),
        ('chunk_budget = "many"\n', "chunk_budget"),
        ("chunk_budget = 1\n", "chunk_budget"),
        ('id_strategy = "random"\n', "id_strategy"),
        ("chunk_budget = \n", "codeintel.toml"),
        ("\xff", "codeintel.toml"),
        ("[section]\nchunk_budget = 100\n", "section"),
    ],
)
def test_a_bad_setting_is_a_usage_error_naming_file_and_setting(world: Any, text: str, named: str) -> None:
    before = world.version
    (world.repo / "codeintel.toml").write_text(text, "latin-1")
    for done in (world.build(), world("plan", world.repo), world("search", "tide")):
        assert done.code == 2 and named in done.err and str(world.repo / "codeintel.toml") in done.err
    assert world.version == before


def test_a_bad_variable_is_a_usage_error_naming_it(world: Any) -> None:
    done = world.build(env={"CODEINTEL_CHUNK_BUDGET": "lots"})
    assert done.code == 2 and "chunk_budget" in done.err and "environment" in done.err


def test_the_store_is_taken_from_the_environment(built: Any, indexctl: Any, tmp_path: Any) -> None:
    done = indexctl("status", "--json", env={"CODEINTEL_DATA": str(built.store)}, cwd=tmp_path)
    assert [row["repo"] for row in done.json["repos"]] == ["demo"]
