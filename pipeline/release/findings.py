"""What checks are made of: findings, and what several of them ask of tables.

Belongs here: what `checks`, `symbol_checks` and `token_checks` share. Not here: any invariant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.columns import codes_of
from pipeline.schemas import Files, Table

Roots = Mapping[str, Path]
"""Asset -> the folder that holds its files."""

MOST_PROBLEMS = 20
SAMPLE = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check: it passed when there are no problems. `facts` are what was looked at."""

    problems: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def finding(problems: Iterator[str] | list[str], **facts: Any) -> Finding:
    found = tuple(problem for problem, _ in zip(problems, range(MOST_PROBLEMS), strict=False))
    return Finding(found, facts)


def pairs(left: Path, left_kind: type[Table], right: Path, right_kind: type[Table]) -> Iterator[tuple[Path, Path]]:
    """Matching parts of two tables."""
    yield from zip(tables.parts(left, left_kind), tables.parts(right, right_kind), strict=True)


def file_sizes(files_path: Path) -> dict[str, int]:
    listed = tables.read_part(files_path, Files, ["uri", "size", "status"])
    listed = listed.filter(pc.equal(listed["status"], "indexed"))
    return dict(zip(listed["uri"].to_pylist(), listed["size"].to_pylist(), strict=True))


def outside(table: pa.Table, sizes: Mapping[str, int], what: str) -> Iterator[str]:
    """Files whose spans leave the file, or run backwards."""
    if table.num_rows == 0:
        return
    # A million nodes have a thousand uris: they are compared by number, run by run.
    codes, uris = codes_of(table["uri"])
    starts, ends = table["start_byte"].to_numpy(), table["end_byte"].to_numpy()
    if (ends < starts).any():
        yield f"{uris[int(codes[np.argmax(ends < starts)])].as_py()}: a {what} ends before it starts"
    runs = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    lowest, highest = np.minimum.reduceat(starts, runs), np.maximum.reduceat(ends, runs)
    for code, low, high in zip(codes[runs].tolist(), lowest.tolist(), highest.tolist(), strict=True):
        uri = uris[code].as_py()
        if low < 0 or high > sizes.get(uri, -1):
            yield f"{uri}: a {what} lies outside the file"


def sample_rows(count: int) -> Any:
    """Row numbers of an even sample, int64, the first and the last row among them."""
    return np.unique(np.linspace(0, count - 1, SAMPLE).astype(np.int64)) if count else np.empty(0, np.int64)
