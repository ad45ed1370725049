"""Versions beside each other: what is shared, what moved, what changed, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.evaluation.changes import changes
from pipeline.evaluation.comparison import compare_metrics
from pipeline.evaluation.history import history
from pipeline.store.versions import ManifestDocument

Evaluate = Callable[..., Path]


def _ranks(label: str, *ranks: int | None, masked: bool = False) -> dict[str, int | None]:
    return {f"{label}/{number}{'!' if masked else ''}": rank for number, rank in enumerate(ranks)}


def test_only_the_queries_that_both_were_asked_are_compared(tmp_path: Path, evaluate: Evaluate) -> None:
    before = evaluate(tmp_path / "a", _ranks("name", *[1] * 40) | {"gone/1": 1})
    after = evaluate(tmp_path / "b", _ranks("name", *[1] * 40) | {"new/1": None, "new/2": None})
    compared = compare_metrics(before, after)
    assert (compared.shared, compared.only_before, compared.only_after) == (40, 1, 2)
    assert compared.overall is not None and compared.overall.ndcg.mean == compared.overall.hit.mean == 0
    assert compared.worse == compared.better == ()


def test_what_moved_is_named_with_its_ranks_the_worst_first(tmp_path: Path, evaluate: Evaluate) -> None:
    before = evaluate(tmp_path / "a", _ranks("name", 1, 2, 1, None))
    after = evaluate(tmp_path / "b", _ranks("name", 2, 2, None, 3))
    compared = compare_metrics(before, after)
    assert [(one.qid, one.before, one.after) for one in compared.worse] == [("name/2", 1, None), ("name/0", 1, 2)]
    assert [(one.qid, one.before, one.after) for one in compared.better] == [("name/3", None, 3)]
    assert str(compared.worse[0]) == "`where is name/2` (name/2.py): rank 1 -> not found"
    assert compared.overall is not None
    assert compared.overall.ndcg.mean == pytest.approx(((0.63093 - 1) + (0 - 1) + 0.5) / 4, abs=1e-4)
    assert (
        compared.overall.hit.mean == 0 and compared.overall.ndcg.low <= compared.overall.ndcg.mean <= compared.overall.ndcg.high
    )


def test_halves_and_labels_with_enough_queries_stand_for_themselves(tmp_path: Path, evaluate: Evaluate) -> None:
    names, hidden = _ranks("name", *[1] * 40), _ranks("doc", *[1] * 35, masked=True)
    before = evaluate(tmp_path / "a", names | hidden | _ranks("few", 1, 1))
    after = evaluate(tmp_path / "b", names | dict.fromkeys(hidden, 2) | _ranks("few", 3, 3))
    compared = compare_metrics(before, after)
    assert {name: one.queries for name, one in compared.by_half.items()} == {"plain": 42, "masked": 35}
    assert {name: one.queries for name, one in compared.by_label.items()} == {"name": 40, "doc": 35}
    assert compared.by_label["doc"].ndcg.high < -0.3 and compared.by_label["name"].ndcg.mean == 0


def test_the_intervals_of_many_groups_are_wider(tmp_path: Path, evaluate: Evaluate) -> None:
    mixed = [1, 2, 1, 1, 3, 1, None, 1]
    before = evaluate(tmp_path / "a", {**_ranks("a", *[1] * 64), **_ranks("b", *[1] * 64), **_ranks("c", *[1] * 64)})
    after = evaluate(tmp_path / "b", {**_ranks("a", *mixed * 8), **_ranks("b", *[1] * 64), **_ranks("c", *[1] * 64)})
    one = compare_metrics(before, after).by_label["a"]
    assert one.wide.low < one.ndcg.low < one.ndcg.high < one.wide.high and one.wide.mean == one.ndcg.mean


def test_a_comparison_is_the_same_every_time(tmp_path: Path, evaluate: Evaluate) -> None:
    before = evaluate(tmp_path / "a", _ranks("name", *[1, 2, 3, None] * 20))
    after = evaluate(tmp_path / "b", _ranks("name", *[2, 1, None, 4] * 20))
    assert compare_metrics(before, after) == compare_metrics(before, after)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({"method": 0}, {}, "different methods, 0 and 1"),
        ({"k": 5}, {}, "different k, 5 and 10"),
        ({"state": "off"}, {}, "the first version was not evaluated"),
        ({}, {"queries": 0}, "the second version was not evaluated"),
        ({"version": 7}, {"version": 7}, "format 7"),
    ],
)
def test_figures_that_mean_other_things_are_not_compared(
    before: dict[str, Any], after: dict[str, Any], reason: str, tmp_path: Path, evaluate: Evaluate
) -> None:
    compared = compare_metrics(
        evaluate(tmp_path / "a", _ranks("name", 1), **before), evaluate(tmp_path / "b", _ranks("name", 1), **after)
    )
    assert reason in compared.incomparable and compared.overall is None


def test_evaluations_without_a_shared_query_are_not_compared(tmp_path: Path, evaluate: Evaluate) -> None:
    compared = compare_metrics(evaluate(tmp_path / "a", {"a/1": 1}), evaluate(tmp_path / "b", {"b/1": 1}))
    assert "share no query" in compared.incomparable


@pytest.mark.parametrize("name", ["metrics.json", "eval_details.parquet"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"{")])
def test_an_evaluation_that_cannot_be_read_is_a_finding(name: str, spoil: Any, tmp_path: Path, evaluate: Evaluate) -> None:
    before, after = evaluate(tmp_path / "a", _ranks("name", 1)), evaluate(tmp_path / "b", _ranks("name", 1))
    spoil(before / name)
    compared = compare_metrics(before, after)
    assert "cannot be read" in compared.incomparable or "was not evaluated" in compared.incomparable


MANIFEST = ManifestDocument(
    format=2, version="v-1", program="", repository="demo", commit="a" * 40, dirty=False, parent=None,
    settings={"dense_weight": 0.7, "rrf_k": 20.0, "use_gpu": True}, tools={"numpy": "2.0", "gone": "1"},
    counts={"chunks": 5, "files": 3}, embedder={"name": "static", "digest": "1" * 64},
    faiss={"family": "flat", "factory": "IDMap2,Flat"},
    operating_point={"exact": True, "parameters": "", "k_factor": 0.0}, evaluation={}, artefacts={},
)  # fmt: skip


def test_what_changed_is_said_in_words_what_matters_first() -> None:
    after = msgspec.structs.replace(
        MANIFEST,
        commit=None,
        settings={"dense_weight": 0.2, "rrf_k": 20.0, "use_gpu": False},
        tools={"numpy": "2.1", "new": "3"},
        counts={"chunks": 6, "files": 4},
        embedder={"name": "static", "digest": "2" * 64},
        faiss={"family": "ivf_flat", "factory": "IVF64,Flat"},
        operating_point={"exact": False, "parameters": "nprobe=1", "k_factor": 2.0, "locked": True},
    )
    assert [str(one) for one in changes(MANIFEST, after)] == [
        "embedder: static (111111111111) -> static (222222222222)",
        "index: flat (IDMap2,Flat) -> ivf_flat (IVF64,Flat)",
        "operating point: exact -> nprobe=1, k-factor 2, locked",
        "setting dense_weight: 0.7 -> 0.2",
        "setting use_gpu: true -> false",
        "tool gone: 1 -> none",
        "tool new: none -> 3",
        "tool numpy: 2.0 -> 2.1",
        "count chunks: 5 -> 6",
        "commit: aaaaaaaaaaaa -> none",
    ]
    assert changes(MANIFEST, MANIFEST) == ()


def test_the_history_has_every_version_in_the_order_of_publication(world: Any) -> None:
    first = world.version
    (world.repo / "harbour/fees.py").write_text("def harbour_dues() -> int:\n    return 7\n")
    assert world.build(env={"CODEINTEL_DENSE_WEIGHT": "0.5"}).code == 0
    second = world.version
    world("rollback")
    (world.home / "versions" / first / "build.json").unlink()

    old, new = history(_repository(world))

    assert (old.version, new.version) == (first, second) and (old.current, new.current) == (True, False)
    assert old.published_at is not None and new.published_at is not None and old.published_at < new.published_at
    assert old.bytes and old.chunks and new.seconds and not new.allowed and old.seconds is None
    assert "setting dense_weight: 0.7 -> 0.5" in [str(one) for one in new.changed] and old.changed == ()


def test_a_damaged_version_is_in_the_history_with_its_problem(world: Any) -> None:
    (world.published / "manifest.json").write_bytes(b"{}")
    (one,) = history(_repository(world))
    assert one.problem is not None and "manifest.json" in one.problem and one.quality is None


def _repository(world: Any) -> Any:
    from pipeline.store.layout import open_store

    return open_store(world.store).existing("demo")
