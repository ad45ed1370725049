"""A grid of operating points as somebody writes it: `nprobe=1,4,16;k_factor=1,2`.

Belongs here: the text and the points that it stands for. Not here: what a point may be (`index.dense.operating_point`),
measuring.
"""

from __future__ import annotations

import itertools
import math

from pipeline.errors import QueryError
from pipeline.index.dense.operating_point import OperatingPoint, parse
from pipeline.index.dense.vectors import VectorIndex

MOST_POINTS = 64
_K_FACTOR = "k_factor"
_HINT = "Write for example `nprobe=1,4,16;k_factor=1,2`."


def points_of(text: str, index: VectorIndex, default: OperatingPoint) -> tuple[OperatingPoint, ...]:
    """Every combination, in the order in which they are written; what is not named is as in `default`.

    Raises `QueryError` for what is no grid, for parameters that the index does not take, values out of range, and more than
    `MOST_POINTS` points.
    """
    named: dict[str, list[str]] = {}
    for item in filter(None, (item.strip() for item in text.split(";"))):
        name, _, values = (part.strip() for part in item.partition("="))
        given = [value.strip() for value in values.split(",")]
        if not name or not all(given):
            raise QueryError(f"`{item[:80]}` is no part of a grid.", hint=_HINT)
        if name in named:
            raise QueryError(f"The grid has `{name[:80]}` twice.", hint=_HINT)
        named[name] = given
    if not named:
        raise QueryError("The grid is empty.", hint=_HINT)
    if (count := math.prod(map(len, named.values()))) > MOST_POINTS:
        raise QueryError(f"The grid has {count:,} points.", hint=f"Use at most {MOST_POINTS}.")
    factors: list[float | None] = [_factor(value) for value in named.pop(_K_FACTOR, ())] or [None]
    written = [
        ",".join(pairs) for pairs in itertools.product(*([f"{name}={value}" for value in named[name]] for name in named))
    ]
    points = (
        parse(parameters, factor, family=index.family, nlist=index.nlist, default=default)
        for parameters, factor in itertools.product(written, factors)
    )
    return tuple(dict.fromkeys(points))


def _factor(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise QueryError(f"The k_factor `{text[:40]}` is not a number.", hint=_HINT) from None
