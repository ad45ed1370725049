"""`indexctl status`, `versions`, `verify` and `rollback`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.store.objects import sealed_digest
from pipeline.store.versions import read_manifest


def flip_a_byte(path: Path, *, keep_time: bool = False) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x20
    path.write_bytes(bytes(content))
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def edit(world: Any, number: int) -> str:
    (world.repo / "harbour/tides.py").write_text(f"def tide_{number}(): pass\n")
    version: str = world.build().json["version"]
    return version


def test_status_has_the_documented_fields(built: Any) -> None:
    [row] = built("status", "--json").json["repos"]
    documented = "repo version commit stale chunks vectors languages embedder operating_point recall published_at"
    assert set(documented.split()) <= set(row)
    assert row["repo"] == "demo" and row["version"] == built.version and row["stale"] is False
    assert row["chunks"] == row["vectors"] > 0 and row["languages"]["python"] == 4 and row["recall"] == 1.0
    assert "demo: up to date" in built("status").out


def test_status_of_an_index_that_is_behind_says_what_to_do(world: Any) -> None:
    (world.repo / "harbour/new.py").write_text("def fresh(): pass\n")
    [row] = world("status", "--json").json["repos"]
    assert row["stale"] is True and row["behind"] == {"files": 1, "commits": 0, "reason": ""}
    assert "demo: behind by 1 file: run `indexctl build`" in world("status").out


def test_status_shows_the_broken_repository_beside_the_good_one(world: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/b.py").write_text("def elsewhere(): pass\n")
    assert world.build(path=tmp_path / "other").code == 0
    (world.home / "CURRENT").write_text("rubbish")
    done = world("status", "--json")
    rows = {row["repo"]: row for row in done.json["repos"]}
    assert done.code == 0 and rows["demo"]["version"] is None and "CURRENT" in rows["demo"]["problem"]
    assert rows["other"]["version"]


def test_versions_are_listed_latest_first_with_the_current_marked(world: Any) -> None:
    first, second = world.version, edit(world, 2)
    listed = world("versions", "--json").json
    assert listed["repo"] == "demo"
    assert [(row["version"], row["current"], row["parent"]) for row in listed["versions"]] == [
        (second, True, first),
        (first, False, None),
    ]
    human = world("versions").out
    assert f"*   {second}" in human and first in human


def test_a_version_that_holds_verifies(built: Any) -> None:
    done = built("verify", "--json")
    assert done.code == 0
    assert done.json["ok"] is True and done.json["version"] == built.version and done.json["problems"] == []
    assert done.json["checked"] > 20
    assert "everything holds" in built("verify").out


def test_a_flipped_byte_in_any_file_of_a_version_is_found_and_its_artefact_named(world: Any) -> None:
    document = read_manifest(world.published)
    for asset, artefact in document.artefacts.items():
        # One file of each kind is enough: they are all listed in the same way.
        for stored in {Path(file.path).suffix: file for file in artefact.files if file.bytes}.values():
            path = world.published / stored.path
            sound = path.read_bytes()
            flip_a_byte(path, keep_time=True)
            done = world("verify", "--json")
            assert done.code == 1 and done.json["ok"] is False
            assert asset in {problem["artefact"] for problem in done.json["problems"]}, stored.path
            path.write_bytes(sound)
    assert world("verify").code == 0


@pytest.mark.parametrize("how", ["flip", "truncate", "remove", "add"])
def test_verify_sees_a_damaged_manifest_and_a_wrong_set_of_files(world: Any, how: str) -> None:
    manifest = world.published / "manifest.json"
    if how == "flip":
        flip_a_byte(manifest)
    elif how == "truncate":
        manifest.write_bytes(manifest.read_bytes()[:100])
    elif how == "remove":
        (world.published / "faiss.index").unlink()
    else:
        (world.published / "stranger").write_text("?")
    done = world("verify", "--json")
    assert done.code == 1 and done.json["ok"] is False and done.json["problems"]


def test_after_verify_found_hidden_damage_searches_do_without_and_say_so_and_build_repairs(world: Any) -> None:
    assert world("search", "tide").code == 0
    version = world.version
    flip_a_byte(world.published / "faiss.index", keep_time=True)
    found = world("verify")
    assert found.code == 1 and "indexctl build" in found.err
    warned = world("search", "tide")
    assert warned.code == 0 and "dense" in warned.err and "damaged" in warned.err and "indexctl" in warned.err
    repaired = world.build()
    assert repaired.code == 0 and repaired.json["version"] == version
    assert world("verify").code == 0 and world("search", "tide").code == 0


def test_only_what_is_damaged_is_built_again(world: Any) -> None:
    # Of what this store built itself: in a copy, versions and objects are no links to one another.
    version = edit(world, 2)
    [part] = sorted((world.published / "modules").glob("part-*.parquet"))
    # Nothing can be seen of it but by reading.
    flip_a_byte(part, keep_time=True)
    assert world.build().json["built"] == []
    assert world("verify", "--json").json["problems"][0]["artefact"] == "modules"
    repaired = world.build().json
    assert repaired["built"] == ["modules", "current"] and repaired["version"] == version
    assert world("verify").code == 0


def test_verify_deep_says_what_it_made_again(built: Any) -> None:
    done = built("verify", "--deep")
    assert done.code == 0, done.err
    assert "chunks made again" in done.out and "everything holds" in done.out
    assert built("verify", "--deep", "--json").json["not_made_again"] == {}


def test_what_verify_deep_finds_wrong_is_repaired_by_the_build_that_it_names(world: Any, tmp_path: Path) -> None:
    # As somebody would leave it who replaced an object and sealed everything anew.
    manifest = read_manifest(world.published)
    manifest.artefacts["chunks"].recipe["inputs"]["ast_nodes"] = "0" * 32
    sealed = msgspec.structs.replace(manifest, digest=sealed_digest(manifest))
    (world.published / "manifest.json").write_bytes(msgspec.json.encode(sealed))
    assert world("verify").code == 0
    done = world("verify", "--deep")
    assert done.code == 1 and "another `ast_nodes`" in done.out and "--data DIR" in done.err
    # The hint of damaged bytes would lead nowhere.
    assert world.build().json["built"] == [] and world("verify", "--deep").code == 1
    elsewhere = tmp_path / "new store"
    assert world("build", str(world.repo), "--data", str(elsewhere)).code == 0
    assert world("verify", "--deep", "--data", str(elsewhere)).code == 0


def test_rollback_returns_to_the_version_before_and_again_to_the_one_before_that(world: Any) -> None:
    first, second, third = world.version, edit(world, 2), edit(world, 3)
    done = world("rollback", "--json").json
    assert done == {"repo": "demo", "version": second, "previous": third, "flipped": True}
    assert world("rollback", "--json").json["version"] == first == world.version
    assert world("search", "tide", "--json").json["version"] == first


def test_rollback_to_a_named_version_and_to_the_current_one(world: Any) -> None:
    first = world.version
    edit(world, 2)
    edit(world, 3)
    assert world("rollback", first, "--json").json["version"] == first
    again = world("rollback", first, "--json")
    assert again.code == 0 and again.json["flipped"] is False


def test_rollback_without_anything_to_return_to_is_not_found(world: Any) -> None:
    before = world.version
    none = world("rollback")
    assert none.code == 3 and "no other version" in none.err
    for name in ("v-0000000000000000", "nosuch", "../x"):
        assert world("rollback", name).code == 3
    assert world.version == before


def test_rollback_to_a_damaged_version_is_refused_and_changes_nothing(world: Any) -> None:
    first, second = world.version, edit(world, 2)
    flip_a_byte(world.home / "versions" / first / "faiss.index")
    refused = world("rollback")
    assert refused.code == 1 and "faiss" in refused.err
    assert world.version == second


def test_commands_without_an_index_say_how_to_build_one(tmp_path: Path, indexctl: Any) -> None:
    for command in (["status"], ["versions"], ["verify"], ["rollback"], ["sql", "SELECT 1"], ["show", "1"], ["search", "x"]):
        done = indexctl(*command, "--data", tmp_path / "none")
        assert done.code == 3 and "indexctl build" in done.err, command
    assert not (tmp_path / "none").exists()
