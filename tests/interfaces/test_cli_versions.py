"""`indexctl versions`, `pin` and `unpin`; versions by the beginning of a name and by what git calls their commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import QueryError
from pipeline.store.layout import open_store
from pipeline.store.revisions import named

Git = Callable[..., str]


@pytest.fixture
def two(world: Any, git: Git) -> Iterator[tuple[str, str]]:
    """Two versions of two commits; the second is published."""
    first = world.version
    (world.repo / "harbour/pilots.py").write_text("def call_the_pilot(): pass\n")
    git(world.repo, "add", "-A")
    git(world.repo, "commit", "-qm", "Second")
    git(world.repo, "tag", "v2")
    yield first, world.build().json["version"]


def shape(world: Any, *, clean: bool = True) -> dict[str, Any]:
    return {row["version"]: row for row in world("versions", "--json").json["versions"]}


def test_a_version_is_found_by_whatever_names_its_commit(world: Any, two: tuple[str, str], git: Git) -> None:
    first, second = two
    head = git(world.repo, "rev-parse", "HEAD")
    for rev, version in (("HEAD", second), ("v2", second), (head[:7], second), ("main~1", first), ("main", second)):
        assert world("search", "pilot", "--json", "--rev", rev).json["version"] == version, rev
    hit = world("search", "berth fee", "--json", "--rev", "v2").json["results"][0]["id"]
    assert world("show", hit, "--rev", "main~1", "--json").json["version"] == first
    assert world("related", hit, "--rev", "main~1", "--json").json["version"] == first
    assert world("symbols", "berth_fee", "--rev", "main~1", "--json").json["version"] == first
    [row] = world("sql", "SELECT count(*) AS n FROM files WHERE uri = 'harbour/pilots.py'", "--rev", "main~1", "--json").jsons
    assert row == {"n": 0}


def test_of_a_commit_the_newest_clean_version_is_meant(world: Any, two: tuple[str, str]) -> None:
    (world.repo / "harbour/pilots.py").write_text("def dirty(): pass\n")
    assert world.build().code == 0
    assert world("search", "pilot", "--json", "--rev", "HEAD").json["version"] == two[1]


def test_a_revision_that_is_unknown_or_not_built_says_what_to_do(world: Any, two: tuple[str, str], git: Git) -> None:
    unknown = world("search", "pilot", "--rev", "nosuch")
    assert unknown.code == 3 and "There is no revision `nosuch`" in unknown.err
    git(world.repo, "commit", "-q", "--allow-empty", "-m", "Third")
    unbuilt = world("symbols", "berth_fee", "--rev", "main")
    assert unbuilt.code == 3 and f"indexctl build {world.repo} --rev main" in unbuilt.err
    both = world("search", "pilot", "--rev", "main", "--version", two[0])
    assert both.code == 2 and "not both" in both.err


def test_versions_of_a_repository_that_is_gone_are_found_by_their_commits(world: Any, two: tuple[str, str], git: Git) -> None:
    before = git(world.repo, "rev-parse", "HEAD~1")
    world.repo.rename(world.repo.with_name("moved"))
    assert world("search", "tide", "--json", "--rev", before[:8]).json["version"] == two[0]
    assert world("search", "tide", "--rev", "0000beef").code == 3


def test_the_beginning_of_a_name_is_enough_when_it_is_the_only_one(world: Any, two: tuple[str, str]) -> None:
    first = two[0]
    for text in (first, first[:9], first[2:10]):
        assert world("search", "tide", "--json", "--version", text).json["version"] == first
        assert world("verify", "--version", text, "--json").json["version"] == first
    assert world("rollback", first[2:10], "--json").json["version"] == first


def test_a_beginning_that_several_names_share_is_refused_with_the_names(world: Any, two: tuple[str, str]) -> None:
    repository = open_store(world.store).existing("demo")
    with pytest.raises(QueryError, match=f"begin with `v-`: {min(two)}, {max(two)}"):
        named(repository, "v-")
    assert world("search", "tide", "--version", "v-").code == 2
    assert named(repository, "zzz") == "zzz"


def test_what_is_pinned_stays_whatever_is_collected_until_it_is_unpinned(world: Any, two: tuple[str, str]) -> None:
    first, second = two
    done = world("pin", first[:9], "--note", "the first", "--json").json
    assert (done["version"], done["pinned"], done["note"]) == (first, True, "the first")
    assert world("pin").out == f"demo: {second} is pinned\n"
    rows = shape(world)
    assert rows[first]["pinned"] and rows[first]["note"] == "the first" and rows[second]["note"] == ""
    human = world("versions").out
    assert "the first" in human and "age" in human
    world("gc", "--keep", "0")
    assert set(shape(world)) == {first, second}
    assert world("unpin", first).code == 0
    world("gc", "--keep", "0")
    assert set(shape(world)) == {second}


def test_what_cannot_be_pinned_or_unpinned_is_told(world: Any) -> None:
    assert world("pin", "v-0000000000000000").code == 3
    assert world("unpin", world.version).code == 3
    (world.home / "pins.json").write_text("{")
    for command in (("pin",), ("versions",), ("gc",)):
        done = world(*command)
        assert done.code == 1 and "pins.json" in done.err, command
    assert world("search", "tide").code == 0


def test_a_version_is_pinned_by_its_revision(world: Any, two: tuple[str, str], tmp_path: Path) -> None:
    assert world("pin", "--rev", "main~1", "--json").json["version"] == two[0]
