"""The dashboard and the example alerts ask for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.instruments import METRICS
from pipeline.interfaces.observing.prometheus import Exposition

FOLDER = Path(__file__).parents[3] / "docs" / "grafana"
_FUNCTIONS = frozenset(
    "sum count rate increase changes histogram_quantile vector time by le or and unless on without avg max min".split()
)
_OF_SCRAPES = {"up": frozenset[str]()}
"""What Prometheus adds itself."""
_ADDED_LABELS = frozenset({"job", "instance"})
_TEXT = re.compile(r'"[^"]*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)\s*\{([^}]*)\}")
_WORD = re.compile(r"(?<![\w.])[A-Za-z_:][A-Za-z0-9_:]*")
_GROUPED = re.compile(r"\b(?:by|without|on)\s*\(([^)]*)\)")


def _series() -> dict[str, frozenset[str]]:
    """Every series that a scrape can have, with its labels."""
    found = dict(_OF_SCRAPES)
    for name, metric in METRICS.items():
        labels = frozenset(metric.labels)
        if metric.kind == "histogram":
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    for family in Exposition().registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, frozenset(sample.labels))
    return found


def _expressions() -> Iterator[tuple[str, str]]:
    """Where, and what is asked."""
    dashboard = json.loads((FOLDER / "codeintel.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def _wrong(expression: str) -> list[str]:
    """What an expression names that no scrape has."""
    series, wrong, grouped = _series(), [], set[str]()
    bare = _RANGE.sub("", expression)
    labels_of = {
        name: set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", _TEXT.sub('""', inside))) for name, inside in _SELECTOR.findall(bare)
    }
    for inside in _GROUPED.findall(bare):
        grouped |= {word.strip() for word in inside.split(",") if word.strip()}
    plain = _GROUPED.sub("", re.sub(r"\{[^}]*\}", "", _TEXT.sub("", bare)))
    names = {word for word in _WORD.findall(plain) if word not in _FUNCTIONS}
    wrong += [f"no series {name}" for name in names - series.keys()]
    known = frozenset[str]().union(*(series.get(name, frozenset()) for name in names)) | _ADDED_LABELS
    wrong += [f"no label {label}" for label in grouped - known]
    for name, labels in labels_of.items():
        wrong += [f"{name} has no label {label}" for label in labels - series.get(name, frozenset()) - _ADDED_LABELS]
    return wrong if names else [*wrong, "no series at all"]


def test_every_query_asks_for_series_and_labels_that_there_are() -> None:
    asked = list(_expressions())
    assert len(asked) > 30
    assert [(where, wrong) for where, expression in asked if (wrong := _wrong(expression))] == []


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("rate(codeintel_searches_total[5m])", "no series codeintel_searches_total"),
        ("sum by (family) (rate(codeintel_search_seconds_count[5m]))", "no label family"),
        ('faiss_idmap_rows{version="v"}', "faiss_idmap_rows has no label version"),
        ("faiss_refine_kept_ratio", "no series faiss_refine_kept_ratio"),
    ],
)
def test_a_query_for_what_there_is_not_would_be_found(expression: str, wrong: str) -> None:
    assert wrong in _wrong(expression)


def test_every_metric_of_the_engine_is_on_the_dashboard() -> None:
    shown = " ".join(expression for _, expression in _expressions())
    assert [name for name in METRICS if name not in shown] == []


def test_every_value_of_a_label_that_is_asked_for_exists() -> None:
    pattern = re.compile(r'(\w+)\{(?:[^}]*,\s*)?(\w+)="([^"$]+)"')
    asked = [found for _, expression in _expressions() for found in pattern.findall(expression) if found[0] in METRICS]
    assert asked
    assert [one for one in asked if one[2] not in METRICS[one[0]].labels[one[1]]] == []


def test_panels_have_titles_and_descriptions_of_their_own_and_do_not_overlap() -> None:
    dashboard: dict[str, Any] = json.loads((FOLDER / "codeintel.json").read_text("utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["type"] == "row" or panel["description"] for panel in panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)) and max(x for x, _ in places) < 24
    assert "/home" not in json.dumps(dashboard) and {one["name"] for one in dashboard["templating"]["list"]} == {
        "datasource",
        "repository",
    }


def test_the_documentation_lists_every_metric_with_its_kind_and_labels() -> None:
    text = (FOLDER.parent / "observability.md").read_text("utf-8")
    rows = {cells[1]: cells[2:4] for line in text.splitlines() if len(cells := [cell.strip() for cell in line.split("|")]) > 4}
    assert {name: rows.get(name) for name in METRICS} == {
        name: [metric.kind, ", ".join(metric.labels)] for name, metric in METRICS.items()
    }
