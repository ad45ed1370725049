"""The presets of `auto`, from what `vector_index.py` measured.

    .venv/bin/python benchmarks/vector_presets.py RESULTS [RESULTS ...] [--write]

Reads files of JSON lines (`vector_index.py --results`) and prints, for each size and workload, what a query costs with each
family: its latency, and its share of the processor time of building and tuning when the index is made anew after so many
queries (`QUERIES`). Search is exact where that takes at most `EXACT_MICROSECONDS`. Families follow each other by cost, and
each one after the first is there because it takes less memory than those before it. `sq8` is never the first, because it
visits everything and is not exact. A family that does not reach the target on all vectors of a size comes behind those that
do.
`--write` puts the table into `pipeline/index/dense/presets.json`.

Belongs here: the rule. Not here: measuring (`vector_index`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from vector_index import TARGET, Row
from vectors import DIMENSION

from pipeline.config import IndexSettings
from pipeline.index.dense import families
from pipeline.index.dense.families import import_faiss

QUERIES: Mapping[str, int] = {"mixed": 10_000, "reads": 1_000_000}
"""Workload -> queries between two builds."""
EXACT_MICROSECONDS = 3000.0
"""An answer needs a millisecond or two besides; below that nothing is gained by missing neighbours."""
_TOLERANCE = 0.002
"""Of the recall over other queries: its standard error is about so much."""


def read(paths: Sequence[Path]) -> dict[int, dict[str, list[Row]]]:
    """Size -> family -> what was measured, the last of each kind of vectors."""
    last: dict[tuple[int, str, str], Row] = {}
    for path in paths:
        for line in path.read_bytes().splitlines():
            row = msgspec.json.decode(line, type=Row)
            if row.engine == "ours":
                last[row.n, row.family, row.data] = row
    found: dict[int, dict[str, list[Row]]] = {}
    for (n, family, _), row in sorted(last.items()):
        found.setdefault(n, {}).setdefault(family, []).append(row)
    return found


def costs(measured: Mapping[str, list[Row]], workload: str) -> dict[str, float]:
    """Family -> microseconds of a query, the mean over all vectors; only those that reach the target on all of them."""
    return {
        family: float(np.mean([row.latency + 1e6 * (row.build + row.tuning) / QUERIES[workload] for row in rows]))
        for family, rows in measured.items()
        if all(row.met and row.recall >= TARGET - _TOLERANCE for row in rows)
    }


def order(measured: Mapping[str, list[Row]], workload: str) -> list[str]:
    """Families by cost, each smaller than those before it; exact search first where it is fast enough."""
    cost = costs(measured, workload)
    ranked = sorted(cost, key=lambda family: cost[family])
    flat = measured.get("flat", [])
    if flat and max(row.latency for row in flat) <= EXACT_MICROSECONDS:
        ranked = ["flat", *(family for family in ranked if family != "flat")]
    elif ranked[0] == "sq8":
        ranked = [*ranked[1:], "sq8"]
    # Where memory is too short for all of those, less recall is all that is left.
    missing = sorted(measured.keys() - cost.keys(), key=lambda family: -min(row.recall for row in measured[family]))
    chosen: list[str] = []
    least = math.inf
    for family in (*ranked, *missing):
        size = families.FAMILIES[family].bytes_per_vector(DIMENSION, IndexSettings())
        if size < least:
            chosen.append(family)
            least = size
    return chosen


def rows(measured: Mapping[int, Mapping[str, list[Row]]]) -> Iterator[dict[str, object]]:
    """The presets: a size is served by the nearest one that was measured, on a logarithmic scale."""
    sizes = sorted(measured)
    bounds: list[int | None] = [_round(math.sqrt(one * other)) for one, other in pairwise(sizes)]
    for workload in QUERIES:
        previous: list[str] = []
        found: list[dict[str, object]] = []
        for size, below in zip(sizes, [*bounds, None], strict=True):
            chosen = order(measured[size], workload)
            if chosen == previous:
                found[-1]["below"] = below
            else:
                found.append({"workload": workload, "below": below, "families": chosen})
            previous = chosen
        yield from found


def _round(value: float) -> int:
    """To one digit and a half: 1, 1.5, 2, 3, 5, 7 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    return int(min((step * power for step in (1, 1.5, 2, 3, 5, 7, 10)), key=lambda one: abs(math.log(one / value))))


def main() -> None:
    """Print what follows from the results, and write it where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    measured = read(arguments.results)
    for workload, queries in QUERIES.items():
        print(f"\n{workload}: a build every {queries:,} queries; µs a query\n")
        names = [name for name in families.FAMILIES if any(name in by_family for by_family in measured.values())]
        print(f"| n | {' | '.join(names)} | auto |\n|---:|{'---:|' * len(names)}---|")
        for size, by_family in measured.items():
            cost = costs(by_family, workload)
            cells = [f"{cost[name]:,.0f}" if name in cost else "misses" if name in by_family else "" for name in names]
            print(f"| {size:,} | {' | '.join(cells)} | {', '.join(order(by_family, workload))} |")
    if arguments.write:
        facts = {"dimension": DIMENSION, "faiss": import_faiss().__version__, "processors": os.cpu_count(), "target": TARGET}
        table = {"version": families.PRESETS_VERSION, "measured_with": facts, "presets": list(rows(measured))}
        families.PRESETS_FILE.write_text(json.dumps(table, indent=2) + "\n")
        print(f"\nwritten: {families.PRESETS_FILE.name}")


if __name__ == "__main__":
    main()
