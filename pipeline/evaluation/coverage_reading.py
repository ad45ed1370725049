"""Coverage as people look at it: a few rows that together are the whole repository, the worst first.

Belongs here: which modules are rows, groups of definitions, what is worse. Not here: printing (`interfaces`), drawing
(`heat_map`).
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import tables
from pipeline.schemas import Coverage, CoverageRows

FEWEST = 5
"""Definitions that a module must have to be a row of its own beside larger ones; fewer where there are few altogether."""
_COUNTS = (
    "bytes", "indexed_bytes", "files", "indexed_files", "definitions", "chunked", "covered", "asked", "found",
)  # fmt: skip
_TOLD = ("files", "indexed_files", "bytes", "indexed_bytes", "definitions", "chunked", "covered", "asked", "found")
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Module:
    """A part of the repository: a folder, a file, or what is left of a folder without the parts that are rows of their own."""

    prefix: str
    rest: bool
    counts: dict[str, int]
    """As the columns of `coverage_modules`."""
    found_by: dict[str, int]

    @property
    def label(self) -> str:
        """What it is called in a row."""
        return f"{self.prefix}…" if self.rest else self.prefix or "."

    def as_json(self) -> dict[str, Any]:
        """Its numbers, as `coverage --json` has them."""
        return {
            "prefix": self.prefix, "rest": self.rest, **{name: self.counts[name] for name in _TOLD},
            "found_by": dict(self.found_by),
        }  # fmt: skip

    def __sub__(self, other: Module) -> Module:
        """What is left of it."""
        return Module(
            self.prefix,
            True,
            {name: count - other.counts[name] for name, count in self.counts.items()},
            {name: count - other.found_by.get(name, 0) for name, count in self.found_by.items()},
        )


def share(part: int, whole: int) -> float | None:
    """A part of a whole; None where there is nothing."""
    return part / whole if whole else None


def percent(part: int, whole: int) -> str:
    """`97 %`. All and nothing are said of all and nothing alone."""
    if not whole:
        return "–"
    rounded = round(100 * part / whole)
    rounded = min(rounded, 99) if part < whole else rounded
    return f"{max(rounded, 1) if part else rounded} %"


def at_best(found: int, asked: int) -> float:
    """The upper end of the 95 % interval (Wilson 1927) of a share: of two bad shares the one of more is surely bad."""
    if not asked:
        return 1.0
    mean, z = found / asked, _Z * _Z / asked
    return (mean + z / 2 + _Z * math.sqrt(mean * (1 - mean) / asked + z / asked / 4)) / (1 + z)


def worst_first(modules: Iterable[Module]) -> list[Module]:
    """By how few of their definitions are in every index, then by how few are found at best."""

    def badness(module: Module) -> tuple[float, float, float, str]:
        counts = module.counts
        covered = share(counts["covered"], counts["definitions"])
        found = at_best(counts["found"], counts["asked"])
        return (1.0 if covered is None else covered, round(found, 9), -counts["definitions"], module.label)

    return sorted(modules, key=badness)


class Tree:
    """The table `coverage_modules`, by prefix."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        """From the table's rows."""
        self._modules = {
            row["prefix"]: Module(
                row["prefix"],
                False,
                {name: row[name] for name in _COUNTS},
                {one["channel"]: one["found"] for one in row["found_by"]},
            )
            for row in rows
        }
        self._inside: dict[str, list[str]] = defaultdict(list)
        self._depth = {row["prefix"]: row["depth"] for row in rows}
        for row in rows:
            if row["parent"] is not None:
                self._inside[row["parent"]].append(row["prefix"])

    def find(self, prefix: str) -> Module | None:
        """The module that people mean by a path, with or without its last slash."""
        plain = prefix.strip().removeprefix("./").strip("/")
        plain = "" if plain == "." else plain
        return self._modules.get(plain) or self._modules.get(f"{plain}/")

    def __len__(self) -> int:
        return len(self._modules)

    def near(self, prefix: str) -> list[str]:
        """Prefixes that end with the same name."""
        name = prefix.strip().strip("/").rpartition("/")[2]
        return sorted(one for one in self._modules if name and one.strip("/").rpartition("/")[2] == name)[:5]

    def at_depth(self, top: Module, depth: int) -> list[Module]:
        """The parts of a module so many levels below it, and files that are nearer."""
        level, found, waiting = self._depth[top.prefix] + depth, [], [top.prefix]
        while waiting:
            prefix = waiting.pop()
            inside = self._inside.get(prefix, [])
            if inside and self._depth[prefix] < level:
                waiting += inside
            else:
                found.append(self._modules[prefix])
        return found

    def cut(self, top: Module, most: int) -> list[Module]:
        """At most so many parts that together are the module: the largest part is split, again and again, into the largest
        that it contains and the rest; what has few definitions stays in a rest."""
        waiting = [(-top.counts["definitions"], top.prefix, 0, top)]
        done: list[Module] = []
        taken: dict[str, int] = defaultdict(int)
        turn, few = 0, max(1, min(FEWEST, top.counts["definitions"] // most))
        while waiting and len(waiting) + len(done) < most:
            _, _, _, row = heapq.heappop(waiting)
            inside = self._largest(row.prefix)
            # A folder that holds one thing alone is that.
            while not row.rest and len(inside) == 1:
                row = self._modules[inside[0]]
                inside = self._largest(row.prefix)
            place = taken[row.prefix]
            if place >= len(inside) or self._modules[inside[place]].counts["definitions"] < few:
                done.append(row)
                continue
            taken[row.prefix] += 1
            part = self._modules[inside[place]]
            # The last of several parts is no rest.
            left = self._modules[inside[-1]] if place + 2 == len(inside) else row - part
            for one in (part, left):
                turn += 1
                heapq.heappush(waiting, (-one.counts["definitions"], one.prefix, turn, one))
        return [*done, *(row for *_, row in waiting)]

    def _largest(self, prefix: str) -> list[str]:
        """What a folder contains, by definitions and files."""
        counts = {one: self._modules[one].counts for one in self._inside.get(prefix, [])}
        return sorted(counts, key=lambda one: (-counts[one]["definitions"], -counts[one]["files"], one))


def read_tree(folder: Path) -> Tree:
    """The modules of an object or a version. Raises OSError and `pyarrow.ArrowException`."""
    return Tree(pq.read_table(folder / Coverage.MODULES).to_pylist())


def read_definitions(folder: Path, prefix: str = "") -> pa.Table:
    """The definitions of an object or a version, of one module where that is given. Raises as `read_tree` does."""
    table = tables.read_table(folder, CoverageRows)
    if not prefix:
        return table
    inside = [uri == prefix or (prefix.endswith("/") and uri.startswith(prefix)) for uri in table["uri"].to_pylist()]
    return table.filter(pa.array(inside, pa.bool_()))


def grouped(definitions: pa.Table, by: str) -> list[dict[str, Any]]:
    """How many definitions there are, covered, asked for and found, by `language`, `kind`, `channel` or `reason`."""
    if by == "channel":
        return _by_channel(definitions)
    if by == "reason":
        return _by_reason(definitions)
    column = {"language": "lang", "kind": "kind"}[by]
    groups: dict[str, dict[str, Any]] = {}
    names = (column, "chunked", "missing_in", "asked", "rank")
    for word, chunked, missing, asked, rank in zip(*(definitions[name].to_pylist() for name in names), strict=True):
        group = groups.setdefault(word, {by: word, "definitions": 0, "covered": 0, "asked": 0, "found": 0})
        group["definitions"] += 1
        group["covered"] += chunked and not missing
        group["asked"] += asked
        group["found"] += rank is not None
    return sorted(groups.values(), key=lambda group: (at_best(group["found"], group["asked"]), -group["asked"], group[by]))


def _by_channel(definitions: pa.Table) -> list[dict[str, Any]]:
    """What each channel has within k, and what it alone has."""
    asked = sum(definitions["asked"].to_pylist())
    counts: dict[str, dict[str, Any]] = {}
    for channels in definitions["found_by"].to_pylist():
        for name in channels:
            group = counts.setdefault(name, {"channel": name, "asked": asked, "found": 0, "alone": 0})
            group["found"] += 1
            group["alone"] += len(channels) == 1
    return sorted(counts.values(), key=lambda group: (-group["found"], group["channel"]))


def _by_reason(definitions: pa.Table) -> list[dict[str, Any]]:
    """Definitions that are not found, and those of them that were asked for, with one of them."""
    groups: dict[str, dict[str, Any]] = {}
    names = ("reason", "asked", "uri", "symbol")
    for reason, asked, uri, symbol in zip(*(definitions[name].to_pylist() for name in names), strict=True):
        if reason is not None:
            group = groups.setdefault(reason, {"reason": reason, "definitions": 0, "asked": 0, "example": f"{uri}: {symbol}"})
            group["definitions"] += 1
            group["asked"] += asked
    return sorted(groups.values(), key=lambda group: (-group["definitions"], group["reason"]))
