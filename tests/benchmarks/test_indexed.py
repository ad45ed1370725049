"""When the benchmarks index a tree again, and what they ask of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import indexed
import pytest
from code_search import DEFAULT, Outcome, answer, variants
from indexed import searcher_of

GIVEN = {"scip": "off", "cst": False}


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that were run to index something."""
    commands: list[str] = []
    run = indexed.run

    def noted(command: Any, **options: Any) -> Any:
        commands.append(" ".join(map(str, command)))
        return run(command, **options)

    monkeypatch.setattr(indexed, "run", noted)
    return commands


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "home" / "tree"
    root.mkdir(parents=True)
    (root / "basket.py").write_text("class Basket:\n    def total(self):\n        return sum(self.prices)\n")
    (root / "mail.py").write_text("def send_letter(address):\n    return post(address)\n")
    return root


def test_a_tree_is_indexed_once_and_again_when_it_changed(
    tree: Path, builds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher_of(tree, "shop", GIVEN).close()
    assert len(builds) == 1
    monkeypatch.setenv("CODEINTEL_DENSE_WEIGHT", "0.25")
    with searcher_of(tree, "shop", GIVEN) as searcher:
        assert searcher.opened.settings.dense_weight == 0.25
    assert len(builds) == 1

    (tree / "mail.py").write_text("def send_parcel(address):\n    return post(address)\n")
    with searcher_of(tree, "shop", GIVEN) as searcher:
        assert searcher.search("send_parcel")[0].name == "send_parcel"
    assert len(builds) == 2


def test_a_channel_alone_answers_only_what_it_found_itself(tree: Path) -> None:
    with searcher_of(tree, "shop", GIVEN) as searcher:
        found = {}
        for name, settings in variants(searcher).items():
            searcher.opened.settings = settings
            found[name] = Outcome(name)
            answer(searcher, ["address of a letter", "Basket"], found[name])
    assert {place.uri for place in found[DEFAULT].results[0]} >= {"mail.py"}
    assert found["symbol alone"].results[0] == []
    assert [place.uri for place in found["symbol alone"].results[1]] == ["basket.py"]
    assert [place.uri for place in found["lexical alone"].results[0]] == ["mail.py"]
