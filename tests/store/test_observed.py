"""What was seen while an object was built is kept beside it, told with it, and never in it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from pipeline.config import Settings
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.store.layout import Repository
from pipeline.store.observed import Observed, recall, remember
from pipeline.store.settling import settle
from pipeline.workers import Runtime


def watched(toys: ModuleType) -> Stage:
    """A stage that sees another number each time."""
    seen = iter(range(1, 99))

    def stage(text: Artefact[toys.Text], runtime: Runtime, out: Output[toys.Joined]) -> Facts:  # type: ignore[name-defined]
        (out.path / "joined.txt").write_text("done")
        runtime.observe({"turn": next(seen)})
        runtime.observe({"rows": [{"ms": 1.5}]})
        return {"letters": 4}

    stage.__annotations__ = {"text": Artefact[toys.Text], "runtime": Runtime, "out": Output[toys.Joined], "return": Facts}
    return Stage(stage, code_version="1")


def path_of(repository: Repository) -> Path:
    return repository.path / "observed" / "joined.json"


def test_what_a_stage_sees_is_told_with_its_object_and_is_not_in_it(repository: Repository, toys: ModuleType) -> None:
    text, stage = toys.settle_text(repository, "word"), watched(toys)
    first = settle(repository, stage, {"text": text}, Settings())
    before = toys.contents(first.artefacts["joined"].path)
    observed = first.observed["joined"]
    assert observed.facts == {"turn": 1, "rows": [{"ms": 1.5}]} and observed.seconds > 0 and observed.at > 0
    assert first.artefacts["joined"].facts == {"letters": 4}

    again = settle(repository, stage, {"text": text}, Settings())
    assert again.artefacts["joined"].reused and again.observed["joined"] == observed

    path_of(repository).unlink()
    (repository.objects / "joined").rename(repository.path / "gone")
    rebuilt = settle(repository, stage, {"text": text}, Settings())
    assert rebuilt.observed["joined"].facts["turn"] == 2
    assert toys.contents(rebuilt.artefacts["joined"].path) == before


def test_a_reused_object_of_which_nothing_was_kept_has_no_times(repository: Repository, toys: ModuleType) -> None:
    stage = watched(toys)
    old, new = toys.settle_text(repository, "old"), toys.settle_text(repository, "new")
    for text in (old, new):
        settle(repository, stage, {"text": text}, Settings())
    again = settle(repository, stage, {"text": old}, Settings())
    assert again.artefacts["joined"].reused and again.observed == {}


def test_a_stage_that_sees_nothing_keeps_nothing(repository: Repository, toys: ModuleType) -> None:
    toys.settle_text(repository, "word")
    assert not (repository.path / "observed").exists()


def test_what_was_seen_survives_a_round_trip(repository: Repository) -> None:
    observed = Observed(key="k", at=5.0, seconds=0.25, facts={"latency": [{"p95_ms": 1.5}], "threads": 2})
    remember(repository, "joined", observed)
    assert recall(repository, "joined", "k") == observed
    assert recall(repository, "joined", "other") is None and recall(repository, "else", "k") is None


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"key": "k"}', b"\xff\xfe", "newer"])
def test_a_damaged_or_newer_file_is_nothing_known(repository: Repository, damaged: bytes | str) -> None:
    remember(repository, "joined", Observed(key="k", at=5.0, seconds=0.25, facts={}))
    raw = path_of(repository).read_bytes()
    path_of(repository).write_bytes(raw.replace(b'"format":1', b'"format":2') if isinstance(damaged, str) else damaged)
    assert recall(repository, "joined", "k") is None


def test_a_store_that_cannot_keep_it_is_no_reason_to_fail(repository: Repository, toys: ModuleType) -> None:
    text = toys.settle_text(repository, "word")
    (repository.path / "observed").write_bytes(b"a file where the folder should be")
    settled = settle(repository, watched(toys), {"text": text}, Settings())
    assert not settled.artefacts["joined"].reused and settled.observed == {}
