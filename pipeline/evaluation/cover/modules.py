"""The tree of modules: the repository, its folders and its files, each with the sums of all that is below it.

Belongs here: adding up the tree. Not here: which of its rows are shown (`coverage_reading`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.evaluation.cover.structure import Numbers
from pipeline.schemas import Coverage


def tree(uris: Sequence[str], counts: Mapping[str, Numbers], channels: Mapping[str, Numbers]) -> pa.Table:
    """A row for the repository, each folder and each file, by prefix. `counts` and `channels` (definitions that each channel
    found) have a number for each of `uris`; a folder has the sums."""
    parents = _folders(uris)
    prefixes = [*parents, *uris]
    number_of = {prefix: number for number, prefix in enumerate(prefixes)}
    above = np.array([number_of.get(parents.get(prefix, _folder(prefix)), 0) for prefix in prefixes], np.int64)
    depths = np.array([_depth(prefix) for prefix in prefixes], np.int64)
    sums = {name: _summed(values, above, depths) for name, values in {**counts, **channels}.items()}
    order = sorted(range(len(prefixes)), key=prefixes.__getitem__)
    places = np.array(order, np.int64)
    found_by = [[{"channel": name, "found": int(sums[name][row])} for name in channels if sums["asked"][row]] for row in order]
    columns: dict[str, object] = {
        "prefix": [prefixes[row] for row in order],
        "parent": [None if not prefixes[row] else parents.get(prefixes[row], _folder(prefixes[row])) for row in order],
        "depth": depths[places],
        **{name: sums[name][places] for name in counts},
        "found_by": found_by,
    }
    return pa.table([pa.array(columns[field.name], field.type) for field in Coverage.modules], schema=Coverage.modules)


def _folder(prefix: str) -> str:
    """The folder that a file lies in."""
    return prefix[: prefix.rfind("/") + 1]


def _depth(prefix: str) -> int:
    return prefix.count("/") + (not prefix.endswith("/") and prefix != "")


def _folders(uris: Sequence[str]) -> dict[str, str]:
    """Every folder, the repository among them, and the one above it; each before those inside of it."""
    found = {"": ""}
    for leaf in sorted({_folder(uri) for uri in uris}):
        new = []
        folder = leaf
        while folder not in found:
            new.append(folder)
            folder = folder[: folder[:-1].rfind("/") + 1]
        for one in reversed(new):
            found[one] = one[: one[:-1].rfind("/") + 1]
    return found


def _summed(values: Numbers, above: Numbers, depths: Numbers) -> Numbers:
    """Values of the files, which are the last rows, and of each folder the sum of what is inside."""
    sums = np.zeros(len(above), np.int64)
    sums[len(above) - len(values) :] = values
    for depth in range(int(depths.max(initial=0)), 0, -1):
        rows = np.flatnonzero(depths == depth)
        np.add.at(sums, above[rows], sums[rows])
    return sums
