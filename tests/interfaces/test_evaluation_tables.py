"""Figures as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.evaluation.document import Interval, MetricsDocument, TokenOracle
from pipeline.interfaces.evaluation import Report
from pipeline.interfaces.evaluation_tables import print_report, share, shortened, signed, with_ends


def interval(mean: float, low: float = 0.0, high: float = 1.0) -> Interval:
    return Interval(mean=mean, low=low, high=high)


def report(**changes: Any) -> Report:
    document = MetricsDocument(
        version=1, method=1, state="on", k=10, queries=2, asked=2, since={}, fused=None,
        by_half={}, by_label={}, by_language={}, by_module={},
        channels={}, nearest=None, agreement=None, twin=None,
        tokens=changes.pop("tokens", None), broken=changes.pop("broken", {}),
    )  # fmt: skip
    return Report(
        repo="demo", version="v-1", stale=False, document=document, queries=changes.pop("queries", ()), points=(), **changes
    )


def missed(qid: str, query: str, label: str, rank: int | None = None, *, masked: bool = False) -> dict[str, Any]:
    return {"qid": qid, "query": query, "label": label, "masked": masked, "rank": rank, "hit": 0.0, "uri": "", "symbol": ""}


def test_shares_have_three_digits_and_no_zero_before_the_point() -> None:
    assert [share(value) for value in (0.0, 0.8124, 0.9996, 1.0)] == [".000", ".812", "1.00", "1.00"]
    assert with_ends(interval(0.8124, 0.77, 1.0)) == ".812 .77–1.0"
    assert signed(interval(-0.0241, -0.04, 0.0001)) == "-.024 (-.040 to .000)"


def test_a_query_is_shown_on_one_line_and_cut() -> None:
    assert shortened("a\n  b\x1b[2J") == "a b�[2J"
    assert shortened("x" * 200, 10) == "x" * 9 + "…"


def test_examples_are_of_each_label_in_turn_and_have_each_text_once() -> None:
    rows = [
        missed("1", "get", "name", 80), missed("2", "get", "name"), missed("3", "set", "name"), missed("4", "pop", "name"),
        missed("5", "what it does", "intent", masked=True), missed("6", "why", "intent", 12),
        {**missed("7", "found", "name", 1), "hit": 1.0},
    ]  # fmt: skip
    found = report(queries=rows).examples(4)
    # Of `get` the one that was not found at all; a masked query after those from which nothing was hidden.
    assert [row["qid"] for row in found] == ["6", "2", "5", "3"]


def test_tokens_are_shown_beside_exact_search(capsys: pytest.CaptureFixture[str]) -> None:
    names = (
        "hit", "mrr", "channel_recall", "engine_recall", "rescored_hit", "rescored_mrr", "fused_hit", "fused_mrr",
    )  # fmt: skip
    tokens = TokenOracle(queries=50, **{name: interval(place / 10) for place, name in enumerate(names, 1)})
    print_report(report(tokens=tokens))
    shown = capsys.readouterr().out
    # Without answers there is nothing that a hit could be of.
    assert "`xtr` finds .300 .00–1.0" in shown and "the engine's pool has .400" in shown and "hit@10" not in shown


def test_a_broken_channel_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report(broken={"dense": "no\nserver"}))
    assert capsys.readouterr().err == "warning: the channel `dense` could not answer: no�server\n"
