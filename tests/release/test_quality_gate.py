"""Which quality is published: versions that fell, that are below their bounds, and what is allowed all the same."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import files
from pipeline.config import QualitySettings
from pipeline.errors import InvariantViolationError
from pipeline.evaluation.changes import Change
from pipeline.evaluation.document import Agreement, Interval, Nearest, read_coverage, read_metrics
from pipeline.release.publication import publish, rollback
from pipeline.release.quality_checks import channels_answer, vectors_of_embedder
from pipeline.release.quality_gate import Candidate, Standard, coverage_bound, quality_not_regressed, recall_bound
from pipeline.release.verification import verify_folder
from pipeline.store.versions import MANIFEST, allowed_of, current_name, history, read_build_facts, read_manifest

World = Any
Evaluate = Callable[..., Path]
Ranks = Mapping[str, int | None]
FINE: Ranks = {f"name/{number}": 1 for number in range(80)} | {f"doc/{number}!": 2 for number in range(40)}
WORSE: Ranks = {qid: rank if number % 4 else None for number, (qid, rank) in enumerate(FINE.items())}


def _nearest(mean: float, low: float, high: float) -> Nearest:
    recall = Interval(mean=mean, low=low, high=high)
    return Nearest(parameters="nprobe=1", k_factor=0.0, exact=False, recall=recall, queries=80)


@pytest.fixture
def manifest(world: World, evaluate: Evaluate) -> Callable[..., Any]:
    """The manifest of a state with an evaluation made by hand: `manifest("one", FINE, **facts)`."""

    def make(state: str, ranks: Ranks, **facts: Any) -> Any:
        evaluated, covered = (world.states[state][asset].path for asset in ("eval_metrics", "coverage"))
        evaluate(evaluated, ranks, **facts)
        os.replace(evaluated / "coverage.json", covered / "coverage.json")
        world.reseal(state)
        return world.manifest(state)

    return make


@pytest.fixture
def published(world: World, manifest: Callable[..., Any]) -> str:
    """State `one`, evaluated well and published."""
    return publish(world.repository, manifest("one", FINE)).version


def _left(world: World) -> list[str]:
    return sorted(path.name for path in world.repository.versions.iterdir())


@pytest.mark.usefixtures("published")
def test_a_version_as_good_as_the_published_one_is_published(world: World, manifest: Callable[..., Any]) -> None:
    done = publish(world.repository, manifest("two", FINE))
    assert done.flipped and not done.allowed and "allowed" not in read_build_facts(done.path)


def test_a_version_that_fell_is_refused_with_its_worst_queries(
    world: World, manifest: Callable[..., Any], published: str
) -> None:
    with pytest.raises(InvariantViolationError) as caught:
        publish(world.repository, manifest("two", WORSE))
    said = caught.value.message
    assert f"quality_not_regressed: compared with {published}, nDCG@10 of 120 all queries fell from 0.877 to 0." in said
    assert "30 queries got worse: `where is name/0` (name/0.py): rank 1 -> not found; " in said and "and 27 more" in said
    assert "--allow-regression" in caught.value.hint and caught.value.exit_code == 1
    assert current_name(world.repository) == published and _left(world) == [published]


@pytest.mark.usefixtures("published")
def test_a_refusal_names_what_changed_in_the_manifest(world: World, manifest: Callable[..., Any]) -> None:
    made = manifest("two", WORSE)
    _rewrite(made.path, lambda it: (it["settings"].update(dense_weight=0.1), it["embedder"].update(name="other")))
    with pytest.raises(InvariantViolationError) as caught:
        publish(world.repository, made)
    assert "What changed: embedder: " in caught.value.message
    assert "setting dense_weight: 0.7 -> 0.1" in caught.value.message and "count " not in caught.value.message


def _rewrite(folder: Path, change: Callable[[Any], Any]) -> None:
    document = msgspec.json.decode((folder / MANIFEST).read_bytes())
    change(document)
    document.pop("digest")
    document["digest"] = files.digest_bytes(msgspec.json.encode(document, order="sorted"))
    (folder / MANIFEST).write_bytes(files.canonical_json(document))


def test_what_is_allowed_is_published_and_recorded(world: World, manifest: Callable[..., Any], published: str) -> None:
    done = publish(world.repository, manifest("two", WORSE, definitions=(1, 100)), allow_regression=True)

    assert current_name(world.repository) == done.version != published
    allowed = allowed_of(read_build_facts(done.path))
    assert set(allowed) == set(done.allowed) == {"quality_not_regressed", "coverage_bound"}
    assert "name/0" in allowed["quality_not_regressed"][0]
    last = history(world.repository)[-1]
    assert last.reason == "build, allowed in spite of quality_not_regressed, coverage_bound"
    assert verify_folder(done.path).ok


def test_the_permission_is_recorded_only_where_it_was_needed(
    world: World, manifest: Callable[..., Any], published: str
) -> None:
    done = publish(world.repository, manifest("two", FINE), allow_regression=True)
    assert not done.allowed and "allowed" not in read_build_facts(done.path)
    assert history(world.repository)[-1].reason == "build" and done.previous == published


def test_what_was_allowed_is_the_standard_of_the_next_version(
    world: World, manifest: Callable[..., Any], published: str
) -> None:
    publish(world.repository, manifest("two", WORSE), allow_regression=True)
    assert publish(world.repository, manifest("three", WORSE)).flipped
    assert published in _left(world)


def test_returning_to_a_worse_version_is_not_refused(world: World, manifest: Callable[..., Any]) -> None:
    worse = manifest("one", WORSE)
    first = publish(world.repository, worse).version
    second = publish(world.repository, manifest("two", FINE)).version

    assert rollback(world.repository).version == first
    rollback(world.repository, second)
    assert publish(world.repository, world.manifest("one")).flipped and current_name(world.repository) == first


def test_a_repair_is_not_judged_and_keeps_what_was_allowed(world: World, manifest: Callable[..., Any], published: str) -> None:
    made = manifest("two", WORSE)
    allowed = publish(world.repository, made, allow_regression=True)
    rollback(world.repository, published)
    path = allowed.path / "faiss.index"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:9])

    again = publish(world.repository, made)
    assert again.flipped and verify_folder(again.path).ok
    assert allowed_of(read_build_facts(again.path)) == {name: list(said) for name, said in allowed.allowed.items()}


@pytest.mark.parametrize("name", ["manifest.json", "metrics.json", "eval_details.parquet", "CURRENT", "gone"])
def test_a_published_version_that_cannot_be_read_is_no_standard(
    name: str, world: World, manifest: Callable[..., Any], published: str
) -> None:
    folder = world.repository.versions / published
    if name == "gone":
        folder.rename(folder.with_name("elsewhere"))
    else:
        path = world.repository.current if name == "CURRENT" else folder / name
        path.unlink()
        path.write_bytes(b'{"version": 1}')
    assert publish(world.repository, manifest("two", WORSE)).flipped


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"method": 0}, "different methods"),
        ({"state": "off", "queries": 0}, "was not evaluated"),
        ({"k": 5}, "different k"),
    ],
)
def test_versions_that_cannot_be_compared_pass_with_a_fact(
    facts: dict[str, Any], said: str, tmp_path: Path, evaluate: Evaluate
) -> None:
    found = _compared(tmp_path, evaluate, FINE, WORSE, before=facts)
    assert found.passed and said in found.facts["compared"]


def test_a_handful_of_shared_queries_tells_nothing(tmp_path: Path, evaluate: Evaluate) -> None:
    few = dict.fromkeys(list(FINE)[:19], 1)
    found = _compared(tmp_path, evaluate, few, dict.fromkeys(few))
    assert found.passed and "only 19 queries are shared" in found.facts["compared"]
    enough = dict.fromkeys(list(FINE)[:20], 1)
    assert not _compared(tmp_path, evaluate, enough, dict.fromkeys(enough)).passed


def _compared(
    folder: Path,
    evaluate: Evaluate,
    old: Ranks,
    new: Ranks,
    *,
    tolerance: float = 0.01,
    before: Mapping[str, Any] | None = None,
    changed: tuple[Change, ...] = (),
) -> Any:
    standard = Standard("v-0123456789abcdef", evaluate(folder / "before", old, **(before or {})), None)
    roots = {"eval_metrics": evaluate(folder / "after", new)}
    return quality_not_regressed(Candidate(roots, QualitySettings(quality_tolerance=tolerance), standard, changed))


def test_a_half_that_fell_is_refused_though_the_whole_did_not(tmp_path: Path, evaluate: Evaluate) -> None:
    old = {f"name/{number}": 2 for number in range(300)} | {f"doc/{number}!": 1 for number in range(60)}
    new = {qid: 1 if number < 75 else rank for number, (qid, rank) in enumerate(old.items())}
    new |= {f"doc/{number}!": 3 for number in range(40)}
    found = _compared(tmp_path, evaluate, old, new)
    assert not found.passed and "all queries" not in found.problems[0]
    assert "60 `masked` queries fell" in found.problems[0] and "60 `doc` queries fell" in found.problems[0]


def test_a_fall_within_the_tolerance_passes(tmp_path: Path, evaluate: Evaluate) -> None:
    assert not _compared(tmp_path / "a", evaluate, FINE, WORSE, tolerance=0.01).passed
    assert _compared(tmp_path / "b", evaluate, FINE, WORSE, tolerance=0.25).passed


def test_chance_refuses_hardly_ever(tmp_path: Path, evaluate: Evaluate) -> None:
    """Forty pairs of versions of one quality, of 400 queries and eight labels, whose ranks differ by chance in one of five."""
    refused = 0
    for seed in range(40):
        draw = random.Random(seed)
        labels = [f"{label}/{number}{'!' if label > 'd' else ''}" for label in "abcdefgh" for number in range(50)]
        old = {qid: draw.choice([1, 1, 1, 2, 3, 7, None]) for qid in labels}
        new = {qid: draw.choice([1, 1, 1, 2, 3, 7, None]) if draw.random() < 0.2 else rank for qid, rank in old.items()}
        refused += not _compared(tmp_path, evaluate, old, new).passed
    assert refused <= 1


@pytest.mark.parametrize(
    ("recall", "passes"), [((0.95, 0.93, 0.97), True), ((0.88, 0.85, 0.91), True), ((0.5, 0.45, 0.55), False)]
)
def test_recall_counts_as_too_low_when_its_interval_is(
    recall: tuple[float, float, float], passes: bool, tmp_path: Path, evaluate: Evaluate
) -> None:
    folder = evaluate(tmp_path, FINE, nearest=_nearest(*recall))
    found = recall_bound(_alone(folder))
    assert found.passed is passes
    assert passes or ("at nprobe=1" in found.problems[0] and "0.500" in found.problems[0] and "0.9 is" in found.problems[0])


def _alone(folder: Path, **bounds: float) -> Candidate:
    return Candidate(
        dict.fromkeys(("eval_metrics", "coverage"), folder), QualitySettings(**bounds), Standard(None, folder, None)
    )


def test_a_version_that_was_not_evaluated_keeps_every_bound(tmp_path: Path, evaluate: Evaluate) -> None:
    folder = evaluate(tmp_path, {}, state="off", queries=0, definitions=(0, 0), found=(0, 0))
    assert recall_bound(_alone(folder)).passed and coverage_bound(_alone(folder)).passed
    assert vectors_of_embedder(_alone(folder).roots).passed and channels_answer(_alone(folder).roots).passed


@pytest.mark.parametrize(
    ("covered", "said"),
    [
        ({"definitions": (98, 100)}, "98 of 100 definitions lie inside of chunks"),
        ({"found": (300, 1000)}, "300 of 1000 definitions asked for are found among the first 10"),
        ({"definitions": (99, 100), "found": (9, 20)}, ""),
    ],
)
def test_coverage_below_a_bound_is_refused_with_reasons(
    covered: dict[str, Any], said: str, tmp_path: Path, evaluate: Evaluate
) -> None:
    found = coverage_bound(_alone(evaluate(tmp_path, FINE, missed={"not chunked": 2, "other": 1}, **covered)))
    assert found.passed is (not said)
    assert not said or (said in found.problems[0] and "not chunked (2), other (1)" in found.problems[0])


def test_the_bounds_are_those_that_the_manifest_recorded(world: World, manifest: Callable[..., Any]) -> None:
    made = manifest("one", FINE, nearest=_nearest(0.5, 0.4, 0.6))
    with pytest.raises(InvariantViolationError, match="recall_bound"):
        publish(world.repository, made)
    _rewrite(made.path, lambda it: it["settings"].update(recall_bound=0.3))
    assert publish(world.repository, made).flipped


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"broken": {"dense": "the embedder is gone"}},
            "channels_answer: the channel `dense` cannot answer: the embedder is gone",
        ),
        ({"agreement": Agreement(sample=64, least=0.31)}, "vectors_of_embedder: stored vectors are not those"),
    ],
)
def test_a_broken_channel_and_foreign_vectors_are_refused_whatever_is_allowed(
    facts: dict[str, Any], said: str, world: World, manifest: Callable[..., Any]
) -> None:
    with pytest.raises(InvariantViolationError) as caught:
        publish(world.repository, manifest("one", FINE, **facts), allow_regression=True)
    assert said in caught.value.message and _left(world) == [] and current_name(world.repository) is None


def test_verification_warns_of_bounds_and_compares_with_nothing(world: World, manifest: Callable[..., Any]) -> None:
    low = {"nearest": _nearest(0.5, 0.4, 0.6), "definitions": (1, 100)}
    done = publish(world.repository, manifest("one", FINE, **low), allow_regression=True)
    found = verify_folder(done.path)
    assert found.ok and "quality_not_regressed" not in found.findings
    assert {(one.artefact, one.problem.split(":")[0]) for one in found.warnings} >= {
        ("eval_metrics", "recall_bound"),
        ("coverage", "coverage_bound"),
    }


def test_evaluations_made_by_hand_are_read_as_written(world: World, manifest: Callable[..., Any], published: str) -> None:
    folder = world.repository.versions / published
    assert read_metrics(folder).queries == len(FINE) and read_coverage(folder).definitions.whole == 100
    assert read_manifest(folder).evaluation["queries"] == len(FINE) and manifest is not None
