"""`indexctl build` and `plan`: what is reported, what is reused, and which repository a path is."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.stages import KINDS

ALL = {*KINDS, "report", "current"}
Git = Callable[..., str]


def test_a_first_build_reports_every_asset_as_built_in_the_documented_shape(demo: Path, tmp_path: Path, indexctl: Any) -> None:
    done = indexctl("build", demo, "--data", tmp_path / "s", "--json", "--ephemeral")
    report = done.json
    assert (done.code, done.err) == (0, "")
    assert list(report) == sorted(["repo", "version", "commit", "published", "built", "reused", "seconds", "problems"])
    assert (report["repo"], report["published"], report["problems"], report["reused"]) == ("demo", True, [], [])
    assert set(report["built"]) == ALL and len(report["built"]) == len(ALL)
    assert re.fullmatch(r"v-[0-9a-f]{16}", report["version"])
    assert re.fullmatch(r"[0-9a-f]{40}", report["commit"])
    assert isinstance(report["seconds"], float)


def test_building_again_reuses_every_asset_and_changes_nothing(world: Any) -> None:
    before = world.version
    again = world.build().json
    assert again["built"] == [] and set(again["reused"]) == ALL - {"report"}
    assert again["version"] == before == world.version


def test_progress_goes_to_standard_error_and_the_result_to_standard_output(demo: Path, tmp_path: Path, indexctl: Any) -> None:
    done = indexctl("build", demo, "--data", tmp_path / "s", "--ephemeral")
    assert done.out.startswith("published demo v-") and done.out.count("\n") == 1
    steps = done.err.splitlines()
    assert len(steps) == len(ALL) and all(step.startswith("  ✓ ") for step in steps)
    assert "up to date" in indexctl("build", demo, "--data", tmp_path / "s").out


def test_an_edit_publishes_another_version_and_reverting_flips_back_to_the_first(world: Any) -> None:
    first, fees = world.version, world.repo / "harbour/fees.py"
    text = fees.read_text()
    fees.write_text(text + "\n\ndef harbour_dues() -> int:\n    return 7\n")
    second = world.build().json
    assert second["version"] != first and "chunks" in second["built"] and second["published"]
    fees.write_text(text)
    back = world.build()
    assert back.json["version"] == first == world.version
    assert back.json["built"] == ["current"] and set(back.json["reused"]) == set(KINDS)


def test_touching_an_ignored_file_is_a_no_op(world: Any) -> None:
    (world.repo / "ignored/secret.py").write_text("SECRET = 2\n")
    assert world.build().json["built"] == []


def test_a_commit_without_a_change_of_files_is_a_new_version_of_the_same_artefacts(world: Any, git: Git) -> None:
    first = world.version
    git(world.repo, "commit", "-q", "--allow-empty", "-m", "Second")
    report = world.build().json
    assert report["version"] != first and report["commit"] == git(world.repo, "rev-parse", "HEAD")
    assert set(report["built"]) == {"manifest", "current"}


def test_a_revision_is_built_without_touching_the_work_tree(world: Any, git: Git) -> None:
    (world.repo / "harbour/ships.py").write_text("BROKEN = True\n")
    (world.repo / "untracked.py").write_text("x = 1\n")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in world.repo.rglob("*") if path.is_file()}
    report = world.build("--rev", "HEAD").json
    assert report["commit"] == git(world.repo, "rev-parse", "HEAD")
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in world.repo.rglob("*") if path.is_file()}
    assert after == before
    uris = {row["uri"] for row in world("sql", "SELECT uri FROM files WHERE status = 'indexed'", "--json").jsons}
    assert "harbour/ships.py" in uris and "untracked.py" not in uris
    assert world("search", "seaworthy", "--json").json["stale"] is False


def test_a_bare_repository_is_built_from_its_head(demo: Path, tmp_path: Path, git: Git, built: Any, indexctl: Any) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(demo), "demo.git")
    report = indexctl("build", tmp_path / "demo.git", "--data", tmp_path / "s", "--json", "--ephemeral").json
    assert (report["repo"], report["published"]) == ("demo.git", True)
    hit = indexctl("search", "berth fee", "--json", "--data", tmp_path / "s").json["results"][0]
    assert hit["uri"] == "harbour/fees.py"


def test_the_worktrees_of_a_repository_are_one_repository_and_share_all_that_is_equal(
    world: Any, git: Git, tmp_path: Path
) -> None:
    git(world.repo, "worktree", "add", "-q", str(tmp_path / "feature"))
    shutil.copytree(world.repo / "ignored", tmp_path / "feature/ignored")
    first = world.version
    same = world.build(path=tmp_path / "feature").json
    assert (same["repo"], same["version"], same["built"]) == ("demo", first, [])
    (tmp_path / "feature/web/app.js").write_text("function berths() { return 3; }\n")
    changed = world.build(path=tmp_path / "feature").json
    assert changed["repo"] == "demo" and changed["version"] != first
    back = world.build().json
    assert (back["version"], back["built"]) == (first, ["current"])
    assert [path.name for path in world.store.iterdir() if (path / "repository.json").exists()] == ["demo"]


def test_in_a_worktree_it_is_that_worktree_that_an_answer_is_behind(world: Any, git: Git, tmp_path: Path) -> None:
    feature = tmp_path / "feature"
    git(world.repo, "worktree", "add", "-q", str(feature))
    shutil.copytree(world.repo / "ignored", feature / "ignored")
    (feature / "web/app.js").write_text("function berths() { return 3; }\n")
    assert world("search", "quay", "--json", cwd=world.repo).json["stale"] is False
    assert world("search", "quay", "--json", cwd=feature).json["behind"]["files"] == 1
    assert world("search", "quay", "--json", cwd=feature / "web").json["behind"]["files"] == 1
    assert world("search", "quay", "--json", cwd=tmp_path).json["stale"] is False


def test_a_folder_inside_of_a_worktree_is_the_same_folder_of_the_others(world: Any, git: Git, tmp_path: Path) -> None:
    assert world.build(path=world.repo / "harbour").json["repo"] == "harbour"
    git(world.repo, "worktree", "add", "-q", str(tmp_path / "feature"))
    assert world.build(path=tmp_path / "feature/harbour").json["repo"] == "harbour"
    (tmp_path / "feature/harbour/new.py").write_text("def pilot(): pass\n")
    found = world("search", "tide", "--json", cwd=tmp_path / "feature/harbour").json
    assert (found["repo"], found["behind"]["files"]) == ("harbour", 1)


def test_a_subfolder_is_indexed_alone_and_under_its_own_name(world: Any) -> None:
    report = world.build(path=world.repo / "harbour").json
    assert report["repo"] == "harbour" and report["published"]
    uris = {row["uri"] for row in world("sql", "SELECT uri FROM files", "--json", "--repo", "harbour").jsons}
    assert uris == {"__init__.py", "fees.py", "ships.py", "tides.py"}


def test_a_folder_without_git_has_no_commit(tmp_path: Path, indexctl: Any) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/a.py").write_text("def lonely(): pass\n")
    report = indexctl("build", tmp_path / "plain", "--data", tmp_path / "s", "--json", "--ephemeral").json
    assert report["commit"] is None and report["published"]
    assert "no commit" in indexctl("status", "--data", tmp_path / "s").out


def test_the_repository_of_a_command_is_the_named_one_or_the_one_around_or_the_only_one(world: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.py").write_text("def elsewhere(): pass\n")
    assert world("search", "berth", "--json", cwd=tmp_path).json["repo"] == "demo"
    assert world.build(path=other).json["repo"] == "other"
    assert world("search", "berth", "--json", "--repo", "other", cwd=world.repo).json["repo"] == "other"
    assert world("search", "berth", "--json", cwd=world.repo / "harbour").json["repo"] == "demo"
    assert world("search", "berth", "--json", cwd=other).json["repo"] == "other"
    unclear = world("search", "berth", cwd=tmp_path)
    assert unclear.code == 3 and "--repo: demo, other" in unclear.err
    unknown = world("search", "berth", "--repo", "third")
    assert unknown.code == 3 and "demo, other" in unknown.err


def test_a_name_that_is_taken_by_another_path_is_refused(world: Any, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "demo"
    other.mkdir(parents=True)
    (other / "b.py").write_text("def elsewhere(): pass\n")
    before = world.version
    refused = world.build(path=other)
    assert refused.code == 2 and str(world.repo) in refused.err and "--repo" in refused.err
    assert world.version == before
    assert world.build("--repo", "demo-two", path=other).json["repo"] == "demo-two"


@pytest.mark.parametrize("name", ["../x", "a//b", "", "a\nb", "-x", "x" * 101])
def test_a_name_that_could_leave_the_store_is_refused(world: Any, name: str) -> None:
    assert world.build(f"--repo={name}").code == 2


def test_plan_tells_what_a_build_would_do_and_writes_nothing(demo: Path, tmp_path: Path, indexctl: Any) -> None:
    nowhere = tmp_path / "none"
    plan = indexctl("plan", demo, "--data", nowhere, "--json").json
    assert plan["stale"] == list(KINDS) and plan["published"] is None and not plan["up_to_date"]
    assert plan["indexed"] == {"python": 4, "javascript": 1, "markdown": 1, "toml": 1, "text": 1}
    assert plan["files"] == [{"uri": "ignored/", "reason": "ignored"}]
    assert not nowhere.exists()
    human = indexctl("plan", demo, "--data", nowhere, "--files")
    assert "would index 8 files" in human.out and "ignored/" in human.out


def test_plan_names_the_version_that_build_then_publishes(built: Any, world: Any) -> None:
    assert "up to date" in world("plan", world.repo).out
    (world.repo / "new.py").write_text("def fresh(): pass\n")
    plan = world("plan", world.repo, "--json").json
    assert plan["version"] != world.version and "lexical_index" in plan["stale"]
    assert world.build().json["version"] == plan["version"]


def test_the_run_is_recorded_in_the_instance_under_the_store(demo: Path, tmp_path: Path, indexctl: Any) -> None:
    store = tmp_path / "s"
    done = indexctl("build", demo, "--data", store, "--json")
    assert done.code == 0
    import dagster as dg

    with dg.DagsterInstance.from_config(str(store / "_dagster")) as instance:
        [run] = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert run.tags["dagster/partition"] == "demo"
        current = instance.get_latest_materialization_event(dg.AssetKey("current"))
        assert current is not None and current.asset_materialization is not None
        assert current.asset_materialization.metadata["version"].value == done.json["version"]


def test_a_folder_whose_name_is_no_text_is_refused_with_a_way_out(tmp_path: Path, indexctl: Any) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "a.py").write_text("def brew(): pass\n")
    done = indexctl("build", folder, "--data", tmp_path / "s", "--ephemeral")
    assert done.code == 2 and "UTF-8" in done.err and "Rename" in done.err
