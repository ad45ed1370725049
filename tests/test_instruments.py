"""What the engine says of itself: every report is declared, and nobody pays for reports that nobody hears."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline import instruments
from pipeline.catalog.joins import Join
from pipeline.config import FaissFamily
from pipeline.instruments import METRICS, Metric
from pipeline.search.channels.registry import CHANNELS, RERANK, State
from pipeline.search.query import Kind

ROOT = Path(__file__).parents[1]
KINDS = {"count": "counter", "observe": "histogram", "timed": "histogram", "gauge": "gauge", "move": "gauge"}


def _reports() -> Iterator[tuple[str, str, str, frozenset[str]]]:
    """Where, how, what and with which labels the code reports."""
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if (
                not (isinstance(node.func.value, ast.Name) and node.func.value.id == "instruments")
                or node.func.attr not in KINDS
            ):
                continue
            assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}: a metric's name is written out"
            where = f"{path.name}:{node.lineno}"
            yield where, node.func.attr, node.args[0].value, frozenset(str(one.arg) for one in node.keywords)


def test_every_report_in_the_code_is_declared_with_its_kind_and_labels() -> None:
    found = list(_reports())
    assert len(found) > 20
    wrong = [
        where
        for where, how, name, labels in found
        if name not in METRICS or METRICS[name].kind != KINDS[how] or METRICS[name].labels.keys() != labels
    ]
    assert wrong == []


def test_every_declared_metric_is_reported_somewhere() -> None:
    assert METRICS.keys() - {name for _, _, name, _ in _reports()} == set()


def test_the_values_of_labels_are_those_that_the_engine_has() -> None:
    def values(name: str, label: str) -> set[str]:
        return set(METRICS[name].labels[label])

    assert values("faiss_ann_search_duration_seconds", "family") == set(get_args(FaissFamily)) - {"auto"}
    assert values("codeintel_channel_seconds", "channel") == {channel.name for channel in (*CHANNELS, RERANK)}
    assert values("codeintel_channel_answers_total", "state") == {state.value for state in State}
    assert values("codeintel_duckdb_hydration_seconds", "op") == {"chunks", "several", *get_args(Join)}
    assert values("codeintel_search_seconds", "kind") == {kind.value for kind in Kind}


@pytest.mark.parametrize(
    "report",
    [
        lambda: instruments.count("codeintel_no_such_total"),
        lambda: instruments.count("faiss_idmap_rows", repository="x"),
        lambda: instruments.observe("faiss_ann_search_duration_seconds", 0.1),
        lambda: instruments.gauge("faiss_idmap_rows", 1, repository="x", version="y"),
    ],
    ids=["unknown", "of another kind", "without its label", "with a label too many"],
)
def test_what_is_not_declared_is_an_error_when_somebody_listens(report: Any) -> None:
    with instruments.listen(lambda *_: None), pytest.raises(LookupError, match="is not declared"):
        report()


def test_listeners_hear_what_is_reported_while_they_listen_and_a_broken_one_stops_nobody() -> None:
    heard: list[tuple[str, float, dict[str, str]]] = []

    def note(metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        heard.append((metric.name, value, dict(labels)))

    def fail(*_: object) -> None:
        raise OSError("a listener's own trouble")

    instruments.count("faiss_deletes_total", 5)
    with instruments.listen(fail), instruments.listen(note):
        assert instruments.listening()
        instruments.count("faiss_deletes_total", 3)
        with pytest.raises(KeyError), instruments.timed("codeintel_duckdb_hydration_seconds", op="chunks"):
            raise KeyError("the work's own trouble")
    instruments.count("faiss_deletes_total", 7)
    assert heard[0] == ("faiss_deletes_total", 3, {})
    assert heard[1][0] == "codeintel_duckdb_hydration_seconds" and heard[1][1] >= 0 and heard[1][2] == {"op": "chunks"}
    assert len(heard) == 2


def test_a_gauge_that_goes_up_and_down_is_right_for_who_listens_later() -> None:
    heard: list[float] = []
    instruments.move("codeintel_open_versions", 1)
    with instruments.listen(lambda metric, value, labels: heard.append(value)):
        instruments.move("codeintel_open_versions", 1)
        instruments.move("codeintel_open_versions", -2)
    assert heard[0] - heard[1] == 2


def test_the_command_search_loads_nothing_that_observes(built: Any) -> None:
    code = (
        "import sys; from pipeline.interfaces.main import main\n"
        "try: main(['search', 'berth fee', '--data', sys.argv[1]])\n"
        "except SystemExit: pass\n"
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('prometheus_client', 'opentelemetry') or 'observing' in n))"
    )
    done = subprocess.run([sys.executable, "-c", code, built.store], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "berth_fee" in done.stdout and done.stdout.splitlines()[-1] == "[]"
