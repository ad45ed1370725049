"""`indexctl idmap`, what `status` says of `catalog.duckdb`, and the setting that keeps it up to date."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

ALWAYS = {"CODEINTEL_MATERIALIZE_IDMAP": "true"}
IdmapCommand = Callable[..., Any]


@pytest.fixture
def idmap(world: Any, indexctl: Callable[..., Any], tmp_path: Path) -> IdmapCommand:
    """Run `indexctl idmap …` on the world's store, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()

    def run(*arguments: str | Path, **keywords: Any) -> Any:
        return indexctl("idmap", *arguments, "--data", world.store, **{"cwd": here, **keywords})

    return run


def rows_of(world: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = world("sql", "SELECT * FROM faiss_idmap ORDER BY faiss_row", "--json").jsons
    return rows


def edit(world: Any, number: int, **keywords: Any) -> str:
    (world.repo / "harbour/tides.py").write_text(f"def tide_{number}(): pass\n")
    done = world.build(**keywords)
    assert done.code == 0, done.err
    return str(world.version)


def catalog_of(world: Any) -> Any:
    return world("status", "--json").json["repos"][0]["catalog"]


def test_export_writes_every_row_and_says_what_it_wrote(world: Any, idmap: IdmapCommand, tmp_path: Path) -> None:
    report = idmap("export", "--json").json
    path = tmp_path / "here" / "faiss_idmap.parquet"
    rows = [{**row, "external_id": str(row["external_id"])} for row in pq.read_table(path).to_pylist()]
    assert rows == rows_of(world)
    assert report == {
        "repo": "demo", "version": world.version, "family": "flat", "mapping": "idmap2", "path": str(path),
        "format": "parquet", "bytes": path.stat().st_size, "rows": len(rows), "sources": {"primary": len(rows)},
    }  # fmt: skip
    # A copy: whoever changes it changes no published file.
    assert path.stat().st_nlink == 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_name_or_the_option_choose_the_format_and_json_has_ids_as_text(
    world: Any, idmap: IdmapCommand, tmp_path: Path
) -> None:
    expected = rows_of(world)
    lines, table, other = (tmp_path / "here" / name for name in ("a.jsonl", "b.CSV", "c.txt"))
    assert idmap("export", "--out", lines).code == 0
    assert [json.loads(line) for line in lines.read_text().splitlines()] == expected
    assert idmap("export", "--out", table.name).code == 0
    read = [{**row, "external_id": str(row["external_id"])} for row in pa_csv.read_csv(table).to_pylist()]
    assert read == expected
    assert idmap("export", "--out", other, "--format", "jsonl", "--json").json["format"] == "jsonl"
    assert other.read_bytes() == lines.read_bytes()
    assert f"wrote {len(expected)} rows ({len(expected)} primary)" in idmap("export").out


def test_rows_go_to_standard_output_when_asked(world: Any, idmap: IdmapCommand) -> None:
    assert idmap("export", "--out", "-", "--format", "jsonl").jsons == rows_of(world)
    assert idmap("export", "--out", "-").out.splitlines()[0] == "faiss_row,external_id,source"
    for refused in (("--format", "parquet"), ("--json",)):
        done = idmap("export", "--out", "-", *refused)
        assert (done.code, done.out) == (2, "") and "--out" in done.err


def test_an_older_version_can_be_exported(world: Any, idmap: IdmapCommand) -> None:
    first, before = world.version, rows_of(world)
    edit(world, 2)
    assert rows_of(world) != before
    assert idmap("export", "--version", first, "--out", "-", "--format", "jsonl").jsons == before
    assert idmap("export", "--version", "v-0000000000000000").code == 3


def test_a_file_is_written_over_only_by_force(idmap: IdmapCommand, tmp_path: Path) -> None:
    path = tmp_path / "here" / "x.csv"
    path.write_text("mine")
    done = idmap("export", "--out", path)
    assert done.code == 2 and "--force" in done.err and path.read_text() == "mine"
    assert idmap("export", "--out", path, "--force").code == 0 and path.read_text().startswith("faiss_row")


def test_an_export_goes_nowhere_into_the_store_not_even_through_a_link(world: Any, idmap: IdmapCommand, tmp_path: Path) -> None:
    link = tmp_path / "here" / "link.parquet"
    link.symlink_to(world.published / "faiss_idmap.parquet")
    for target in (world.home / "CURRENT", world.published / "new.csv", link):
        done = idmap("export", "--out", target, "--force")
        assert done.code == 2 and "lies in the store" in done.err
    assert world("verify").code == 0


@pytest.mark.parametrize("out", ["", ".", "no/such/x.csv", "/dev/null"])
def test_what_cannot_be_a_file_is_refused_in_one_sentence(idmap: IdmapCommand, tmp_path: Path, out: str) -> None:
    done = idmap("export", "--out", out, "--force")
    assert done.code == 2 and done.err.count("\n") == 1 and "--out" in done.err
    assert list((tmp_path / "here").iterdir()) == []


def test_a_damaged_idmap_is_not_exported(world: Any, idmap: IdmapCommand, tmp_path: Path) -> None:
    path = world.published / "faiss_idmap.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.unlink()
    path.write_bytes(raw)
    done = idmap("export")
    assert done.code == 1 and "damaged" in done.err and list((tmp_path / "here").iterdir()) == []


def test_without_an_index_each_command_says_what_to_do(indexctl: Callable[..., Any], tmp_path: Path) -> None:
    for command in ("export", "views", "materialize"):
        done = indexctl("idmap", command, "--data", tmp_path / "none", cwd=tmp_path)
        assert done.code == 3 and "indexctl build" in done.err
    assert list(tmp_path.iterdir()) == []


def test_views_and_materialize_report_what_they_did(world: Any, idmap: IdmapCommand) -> None:
    first, path = world.version, str(world.home / "catalog.duckdb")
    report = idmap("views", "--json").json
    assert "v_faiss_join" in report.pop("views")
    assert report == {
        "repo": "demo",
        "version": first,
        "path": path,
        "set_aside": None,
        "previous": None,
        "materialized": False,
    }
    report = idmap("materialize", "--json").json
    count = len(rows_of(world))
    assert len(report.pop("idmap")) == 64
    assert report == {
        "repo": "demo", "version": first, "path": path, "set_aside": None, "status": "created",
        "rows": {"faiss_idmap_mat": count, "v_faiss_join_mat": count},
    }  # fmt: skip
    assert idmap("materialize").out.startswith("unchanged: ")
    second = edit(world, 2)
    assert f"{second} (before: {first})" in idmap("views").out


def test_what_is_set_aside_is_told(world: Any, idmap: IdmapCommand) -> None:
    (world.home / "catalog.duckdb").write_text("junk")
    done = idmap("views")
    assert done.code == 0 and "set-aside-1" in done.err
    (world.home / "catalog.duckdb").write_text("junk")
    assert idmap("materialize", "--json").json["set_aside"].endswith("catalog.set-aside-2.duckdb")


def test_status_says_of_which_version_the_file_is_and_when_it_is_behind(world: Any, idmap: IdmapCommand) -> None:
    assert catalog_of(world) is None and "catalog" not in world("status").out
    idmap("materialize")
    first = world.version
    assert catalog_of(world) == {"version": first, "behind": False, "materialized": True, "problem": None}
    edit(world, 2)
    assert catalog_of(world) == {"version": first, "behind": True, "materialized": True, "problem": None}
    assert "behind: run `indexctl idmap views`" in world("status").out
    world("rollback")
    assert catalog_of(world)["behind"] is False
    (world.home / "catalog.duckdb").write_text("junk")
    done = world("status")
    assert done.code == 0 and "indexctl idmap views" in done.out and "damaged" in catalog_of(world)["problem"]


def test_a_build_materialises_only_when_the_settings_say_so_and_follows_every_publication(world: Any) -> None:
    first = world.version
    second = edit(world, 2)
    assert catalog_of(world) is None
    third = edit(world, 3, env=ALWAYS)
    assert catalog_of(world) == {"version": third, "behind": False, "materialized": True, "problem": None}
    # Back to a version that exists: no graph runs.
    (world.repo / "harbour/tides.py").write_text("def tide_2(): pass\n")
    assert world.build(env=ALWAYS).json["built"] == ["current"]
    assert world.version == second != first and catalog_of(world)["version"] == second
    # Nothing to do at all, and the file is gone.
    (world.home / "catalog.duckdb").unlink()
    assert world.build(env=ALWAYS).json["built"] == [] and catalog_of(world)["version"] == second


def test_the_setting_changes_neither_versions_nor_keys(world: Any) -> None:
    version = world.version
    done = world.build(env=ALWAYS).json
    assert done["built"] == [] and done["version"] == version == world.version
    (world.store / "codeintel.toml").write_text("materialize_idmap = true\n")
    assert world.build().json["built"] == [] and world.version == version


def test_a_build_is_published_also_when_the_file_cannot_be_replaced(world: Any) -> None:
    first = edit(world, 2, env=ALWAYS)
    with closing(duckdb.connect(str(world.home / "catalog.duckdb"))):
        (world.repo / "harbour/tides.py").write_text("def tide_3(): pass\n")
        done = world.build(env=ALWAYS)
    assert done.code == 0 and done.json["published"] and "open for writing" in done.json["problems"][0]["problem"]
    assert world.version != first and catalog_of(world) == {
        "version": first, "behind": True, "materialized": True, "problem": None,
    }  # fmt: skip
    assert world.build(env=ALWAYS).json["problems"] == [] and catalog_of(world)["version"] == world.version
