"""Planning: names, origins, and what would be built, without building."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.planning import locate, plan
from pipeline.settings_files import from_flat
from pipeline.stages import KINDS
from pipeline.store.layout import Store

JOINED = {"chunk_symbols", "symbol_edges"}
ASKED = {"eval_queries", "tuning"}
SEARCHED = {"eval_metrics", "coverage", "manifest"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "My Project!"
    root.mkdir()
    (root / "a.py").write_text("def first(): pass\n")
    return root


def test_a_repository_is_named_after_its_folder_in_characters_that_a_name_may_have(folder: Path, tmp_path: Path) -> None:
    repository, origin = locate(Store(tmp_path), folder)
    assert repository.name == origin.name == "My-Project"
    assert origin.path == str(folder) and origin.git is None and origin.rev is None


def test_locating_registers_nothing(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    locate(Store(store), folder)
    assert not any(store.iterdir())


@pytest.mark.parametrize("path", ["none", "My Project!/a.py", "x" * 5000, "~no-such-user-here"])
def test_what_is_no_folder_is_refused(folder: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(SourceError) as refused:
        locate(Store(tmp_path), Path(path) if path.startswith("~") else tmp_path / path)
    assert refused.value.hint and len(refused.value.message) < 400


def test_a_known_path_keeps_the_name_that_it_was_given(world: Any) -> None:
    store = Store(world.store)
    assert locate(store, world.repo)[0].name == "demo"
    assert world.build("--repo", "team/renamed", path=world.repo / "web").code == 0
    assert locate(store, world.repo / "web")[0].name == "team/renamed"


def test_worktrees_of_one_repository_may_share_a_name_and_strangers_may_not(
    world: Any, git: Callable[..., str], tmp_path: Path
) -> None:
    store = Store(world.store)
    git(world.repo, "worktree", "add", "-q", str(tmp_path / "feature"))
    git(tmp_path, "clone", "-q", str(world.repo), "stranger")
    repository, origin = locate(store, tmp_path / "feature", name="demo")
    assert repository.name == "demo" and origin.path == str(tmp_path / "feature")
    with pytest.raises(ConfigError, match="already in this store"):
        locate(store, tmp_path / "stranger", name="demo")


def test_a_plan_of_what_is_published_misses_nothing_and_an_edit_makes_another_version(world: Any) -> None:
    store = Store(world.store)
    located = locate(store, world.repo)
    now = plan(store, *located)
    assert now.published and now.known and now.missing == () and now.version == now.current == world.version
    (world.repo / "harbour/fees.py").write_text("def waived(): pass\n")
    then = plan(store, *located)
    assert not then.published and not then.known and then.version != now.version and then.current == now.version
    assert set(then.missing) == set(KINDS)


@pytest.mark.parametrize(
    ("setting", "missing"),
    [
        (
            {"chunk_budget": 700},
            {
                "chunks",
                "embeddings",
                "faiss_index",
                "faiss_idmap",
                "tuning",
                "lexical_index",
                "splade_index",
                "xtr_index",
            }
            | JOINED
            | ASKED
            | SEARCHED,
        ),
        ({"scip": "off"}, {"scip_index", "scip_occurrences", "scip_symbols"} | JOINED | ASKED | SEARCHED),
        ({"xtr_bits": 2}, {"xtr_index"} | SEARCHED),
        ({"xtr_tokens": 10}, SEARCHED),
        ({"cst": False}, {"cst_nodes", "manifest"}),
        ({"churn_days": 30}, {"modules"} | ASKED | SEARCHED),
        ({"target_recall": 0.9}, {"tuning"} | SEARCHED),
        ({"symbol_weight": 3.0}, SEARCHED),
        ({"default_k": 3}, SEARCHED),
        ({"eval_queries": 7}, ASKED | SEARCHED),
        ({"quality_tolerance": 0.5}, {"manifest"}),
    ],
)
def test_a_setting_makes_stale_what_reads_it_and_what_follows(world: Any, setting: dict[str, Any], missing: set[str]) -> None:
    store = Store(world.store)
    decided = plan(store, *locate(store, world.repo), from_flat(setting, origin="test"))
    assert set(decided.missing) == missing
