"""What the asset `coverage` shows of an artefact: its worst modules and the heat map."""

from __future__ import annotations

import base64
from typing import Any

from assets.highlights import HIGHLIGHTS
from assets.plots import PLOTS, as_markdown
from pipeline.schemas import Coverage


def test_the_worst_modules_stand_in_a_small_table(built: Any) -> None:
    name, pick = HIGHLIGHTS[Coverage]
    rows = pick(built.published).to_pylist()
    assert name == "worst_modules" and 0 < len(rows) <= 10
    assert sorted(rows[0]) == ["asked", "definitions", "found", "in every index", "module"]
    assert {"harbour/ships.py", "harbour/fees.py", "web/app.js"} <= {row["module"] for row in rows}


def test_the_heat_map_is_a_picture_inside_of_markdown(built: Any) -> None:
    name, draw = PLOTS[Coverage]
    svg = draw(built.published)
    assert name == "heat_map" and svg is not None and svg.startswith("<svg ") and "harbour/fees.py" in svg
    encoded = as_markdown(svg, name).rpartition("base64,")[2].rstrip(")")
    assert base64.b64decode(encoded).decode() == svg
