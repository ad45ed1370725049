"""Results that build on an earlier one: which one, and that the choice is kept."""

from __future__ import annotations

import shutil
from types import ModuleType
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.schemas import Kind
from pipeline.stage import Artefact, Base, Facts, Output, Stage
from pipeline.store.layout import Repository
from pipeline.store.objects import read_record
from pipeline.store.settling import settle


class Grown(Kind):
    asset = "grown"


FOLD = 4
"""Letters more than the base has from which on `grow` starts anew."""


class _Grow:
    """A stage that keeps what its base says, and adds what came since."""

    def __init__(self, toys: ModuleType) -> None:
        Text: Any = toys.Text  # noqa: N806 - a type

        def grow(text: Artefact[Text], base: Base[Grown], out: Output[Grown]) -> Facts:
            value = (text.path / "text.txt").read_text()
            before = (base.artefact.path / "primary").read_text() if base.artefact is not None else None
            if base.artefact is None or before is None or len(value) >= len(before) + FOLD:
                (out.path / "primary").write_text(value)
                return {"base": None, "made_from": None}
            (out.path / "primary").write_text(before)
            (out.path / "more").write_text(value)
            of = base.inputs["text"]
            return {"base": base.key, "made_from": (of.path / "text.txt").read_text()}

        # The annotations name what is local here.
        grow.__annotations__ = {"text": Artefact[Text], "base": Base[Grown], "out": Output[Grown], "return": Facts}
        self.stage = Stage(grow, code_version="1")
        self._toys = toys

    def __call__(self, repository: Repository, value: str, stage: Stage | None = None) -> Artefact[Any]:
        text = self._toys.settle_text(repository, value)
        return settle(repository, stage or self.stage, {"text": text}, Settings()).artefacts["grown"]


@pytest.fixture
def grow(toys: ModuleType) -> _Grow:
    return _Grow(toys)


def test_the_first_result_has_no_base(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    assert read_record(first).base == "" and first.facts == {"base": None, "made_from": None}


def test_the_next_result_builds_on_the_one_before_and_is_handed_what_that_was_made_from(
    repository: Repository, grow: _Grow
) -> None:
    first = grow(repository, "ab")
    second = grow(repository, "abc")
    assert read_record(second).base == first.key
    assert second.facts == {"base": first.key, "made_from": "ab"}


def test_what_says_that_it_is_still_based_on_another_hands_that_on(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    grow(repository, "abc")
    assert grow(repository, "abcd").facts["base"] == first.key


def test_a_result_that_started_anew_is_the_base_of_the_next(repository: Repository, grow: _Grow) -> None:
    grow(repository, "ab")
    anew = grow(repository, "abcdefgh")
    assert anew.facts["base"] is None
    assert grow(repository, "abcdefghi").facts["base"] == anew.key


def test_the_same_inputs_have_the_same_base_again_whatever_came_in_between(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    second = grow(repository, "abc")
    grow(repository, "abcdefghijkl")
    assert grow(repository, "abc").key == second.key
    again = grow(repository, "ab")
    assert again.key == first.key and again.reused


def test_another_base_is_another_key(repository: Repository, grow: _Grow) -> None:
    grow(repository, "ab")
    on_short = grow(repository, "abcde")
    for asset in ("grown", "text"):
        shutil.rmtree(repository.objects / asset)
    shutil.rmtree(repository.path / "bases")
    grow(repository, "abcd")
    assert grow(repository, "abcde").key != on_short.key


def test_another_method_is_no_base(repository: Repository, grow: _Grow) -> None:
    grow(repository, "ab")
    changed = Stage(grow.stage.function, code_version="2")
    assert grow(repository, "abc", changed).facts["base"] is None


def test_a_result_stays_known_when_its_base_is_gone(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    second = grow(repository, "abc")
    shutil.rmtree(first.path)
    again = grow(repository, "abc")
    assert again.key == second.key and again.reused


def test_when_result_and_base_are_gone_another_base_is_chosen(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    second = grow(repository, "abc")
    shutil.rmtree(first.path)
    shutil.rmtree(second.path)
    assert grow(repository, "abc").facts["base"] is None


def test_a_damaged_base_is_put_aside_and_nothing_is_built_on_it(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    (first.path / "primary").unlink()
    assert grow(repository, "abc").facts["base"] is None
    assert not first.path.exists()


def test_the_base_before_the_damaged_one_serves(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    second = grow(repository, "abc")
    (second.path / "more").write_text("other")
    assert grow(repository, "abcd").facts["base"] == first.key


@pytest.mark.parametrize("content", [b"", b"\xff\n", b"../../etc\n", b"abc"])
def test_a_damaged_choice_is_made_again(repository: Repository, grow: _Grow, content: bytes) -> None:
    grow(repository, "ab")
    second = grow(repository, "abc")
    [chosen] = [path for path in (repository.path / "bases" / "grown").iterdir() if path.read_text() != "\n"]
    chosen.write_bytes(content)
    shutil.rmtree(second.path)
    grow(repository, "ab")
    assert grow(repository, "abc").key == second.key


def test_the_last_result_serves_when_what_it_is_based_on_was_collected(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    second = grow(repository, "abc")
    shutil.rmtree(first.path)
    assert grow(repository, "abcd").facts["base"] == second.key


def test_a_full_settling_builds_on_nothing_and_is_what_is_planned_from_then_on(repository: Repository, grow: _Grow) -> None:
    first = grow(repository, "ab")
    small = grow(repository, "abc")
    assert small.facts["base"] == first.key
    text = grow._toys.settle_text(repository, "abc")
    full = settle(repository, grow.stage, {"text": text}, Settings(), full=True).artefacts["grown"]
    assert full.facts["base"] is None and full.key != small.key
    assert grow(repository, "abc").key == full.key


def test_a_stage_that_builds_on_nothing_with_these_settings_has_no_history_in_its_key(
    repository: Repository, grow: _Grow
) -> None:
    alone = Stage(grow.stage.function, code_version="1", based=lambda settings: False)
    grow(repository, "ab", alone)
    later = grow(repository, "abc", alone)
    assert later.facts["base"] is None and read_record(later).base == ""
    assert later.key == alone.key(Grown, Settings(), read_record(later).recipe["inputs"], {})
