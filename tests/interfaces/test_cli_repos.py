"""`indexctl repos`, and `indexctl build` of what it registered."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Git = Callable[..., str]
Command = Callable[..., Any]


@pytest.fixture
def upstream(demo: Path, tmp_path: Path, git: Git) -> Path:
    """A bare repository that is pushed to."""
    git(tmp_path, "clone", "-q", "--bare", str(demo), "upstream.git")
    return tmp_path / "upstream.git"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def push(upstream: Path, git: Git, text: str) -> str:
    """Push a commit that adds a module; its hash."""
    clone = upstream.with_name("clone")
    shutil.rmtree(clone, ignore_errors=True)
    git(upstream.parent, "clone", "-q", str(upstream), "clone")
    (clone / "pushed.py").write_text(text)
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "Pushed")
    git(clone, "push", "-q", "origin", "HEAD")
    return git(clone, "rev-parse", "HEAD")


def test_a_remote_is_registered_built_by_its_name_and_built_again_after_a_push(
    indexctl: Command, upstream: Path, store: Path, git: Git
) -> None:
    added = indexctl("repos", "add", upstream.as_uri(), "--repo", "team/up", "--json", "--data", store)
    assert added.json == {"repo": "team/up", "url": upstream.as_uri(), "rev": None, "watched": True, "declared": False}
    [row] = indexctl("repos", "list", "--json", "--data", store).json["repos"]
    assert (row["version"], row["commit"]) == (None, None)
    built = indexctl("build", "team/up", "--json", "--ephemeral", "--data", store)
    assert built.code == 0, built.err
    first = git(upstream, "rev-parse", "HEAD")
    assert built.json["commit"] == first
    pushed = push(upstream, git, "def arrived_by_push(): pass\n")
    assert indexctl("plan", "team/up", "--json", "--data", store).json["commit"] == first, "planning fetches nothing"
    again = indexctl("build", "--repo", "team/up", "--json", "--ephemeral", "--data", store)
    assert again.code == 0, again.err
    assert again.json["commit"] == pushed
    found = indexctl("search", "arrived_by_push", "--json", "--data", store).json
    assert found["results"][0]["uri"] == "pushed.py" and not found["stale"]
    shutil.rmtree(upstream)
    gone = indexctl("build", "team/up", "--ephemeral", "--data", store)
    assert gone.code == 3 and "cannot be fetched" in gone.err
    assert indexctl("search", "arrived_by_push", "--data", store).code == 0


def test_a_folder_goes_before_a_name(indexctl: Command, upstream: Path, store: Path, tmp_path: Path) -> None:
    indexctl("repos", "add", upstream.as_uri(), "--repo", "up", "--data", store)
    (tmp_path / "here" / "up").mkdir(parents=True)
    (tmp_path / "here" / "up" / "a.py").write_text("x = 1\n")
    planned = indexctl("plan", "up", "--repo", "other", "--json", "--data", store, cwd=tmp_path / "here")
    assert planned.json["path"] == str(tmp_path / "here" / "up")
    unknown = indexctl("build", "nowhere", "--data", store)
    assert unknown.code == 3 and "does not exist" in unknown.err


def test_removing_wants_to_be_told_whether_the_index_goes(indexctl: Command, world: Any) -> None:
    for options in ((), ("--yes", "--keep-data")):
        refused = indexctl("repos", "remove", "demo", *options, "--data", world.store)
        assert refused.code == 2 and "--yes" in refused.err and "--keep-data" in refused.err


def test_a_repository_that_is_kept_answers_and_is_listed_as_not_watched(indexctl: Command, world: Any) -> None:
    assert indexctl("repos", "remove", "demo", "--keep-data", "--data", world.store).code == 0
    [row] = indexctl("repos", "list", "--json", "--data", world.store).json["repos"]
    assert row["watched"] is False and row["version"] == world.version
    assert world("search", "berth fee").code == 0
    assert world.build().code == 0
    assert indexctl("repos", "list", "--json", "--data", world.store).json["repos"][0]["watched"] is False


def test_a_repository_that_is_removed_is_gone_with_its_index(indexctl: Command, world: Any) -> None:
    gone = indexctl("repos", "remove", "demo", "--yes", "--json", "--data", world.store)
    assert gone.json == {"repo": "demo", "deleted": True}
    assert not world.home.exists()
    assert indexctl("repos", "list", "--json", "--data", world.store).json["repos"] == []
    assert world("search", "berth fee").code == 3
    assert indexctl("repos", "remove", "demo", "--yes", "--data", world.store).code == 3


def test_nothing_is_removed_while_somebody_builds(indexctl: Command, world: Any) -> None:
    hold = (
        "import sys; from pathlib import Path; from pipeline.store.layout import Repository; "
        "from pipeline.store.locks import builder\n"
        "with builder(Repository('demo', Path(sys.argv[1]))): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(world.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stdout.readline() == b"held\n"
        busy = indexctl("repos", "remove", "demo", "--yes", "--data", world.store)
        process.stdin.close()
    assert busy.code == 4 and world.home.exists()


def test_what_is_wrong_with_the_file_is_told_with_the_list(indexctl: Command, world: Any) -> None:
    (world.store / "repositories.toml").write_text('[[repository]]\nname = "bad"\npath = "nowhere"\n')
    listed = indexctl("repos", "list", "--data", world.store)
    assert listed.code == 0 and "demo" in listed.out
    assert "repositories.toml" in listed.err and "`bad`" in listed.err


def test_a_secret_in_a_url_is_refused_and_not_shown(indexctl: Command, store: Path) -> None:
    refused = indexctl("repos", "add", "https://ada:s3cret@example.org/x.git", "--data", store)
    assert refused.code == 2
    assert "s3cret" not in refused.err and "CODEINTEL_GIT_TOKEN_EXAMPLE_ORG" in refused.err


def test_settings_files_may_be_there_before_the_store(indexctl: Command, demo: Path, store: Path) -> None:
    store.mkdir()
    (store / "repositories.toml").write_text(f'[[repository]]\nname = "first"\npath = "{demo}"\n')
    assert indexctl("repos", "add", demo, "--repo", "second", "--data", store).code == 0
    rows = indexctl("repos", "list", "--json", "--data", store).json["repos"]
    assert {row["repo"]: row["declared"] for row in rows} == {"first": True, "second": False}
