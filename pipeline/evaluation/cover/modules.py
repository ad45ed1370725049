"""The tree of modules: the repository, its folders and its files, each with the sums of all that is below it.

Belongs here: adding up the tree. Not here: which of its rows are shown (`coverage_reading`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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


def channels_in(modules: pa.Table) -> list[str]:
    """The channels that the table has found definitions of, in its order."""
    column = modules["found_by"].combine_chunks()
    lengths = pc.list_value_length(column).to_numpy()
    first = np.flatnonzero(lengths)[:1]
    return [one["channel"] for row in first.tolist() for one in column[row].as_py()]


def exchanged(modules: pa.Table, gone: Sequence[str], new: Sequence[pa.Table], channels: Sequence[str]) -> pa.Table:
    """The table with other rows for some files: without those of the files that are `gone`, with those of the trees `new`.

    Sums are taken apart and put together, so that no other file is looked at.
    """
    flat = _flat(modules, channels)
    before = flat.filter(pc.is_in(flat["prefix"], value_set=pa.array(gone, pa.string())))
    counts = {name: before[name].to_numpy() for name in flat.column_names if name not in ("prefix", *_found(channels))}
    old = _flat(
        tree(before["prefix"].to_pylist(), counts, {name: before[f"found:{name}"].to_numpy() for name in channels}), channels
    )
    names = flat.column_names[1:]
    less = old.select(["prefix"])
    for name in names:
        less = less.append_column(name, pc.negate(old[name]))
    sums, prefix = _added(flat, pa.concat_tables([less, *(_flat(one, channels) for one in new)]), names)
    return _rows(sums, prefix, channels, like=modules)


def _added(flat: pa.Table, more: pa.Table, names: Sequence[str]) -> tuple[dict[str, Numbers], pa.ChunkedArray]:
    """The counts of each prefix with those of other rows added, and the prefixes, ascending; folders without files are left
    out. What is added is little, so the rest keeps its place."""
    columns = {name: flat[name].to_numpy().copy() for name in names}
    more = more.group_by("prefix", use_threads=False).aggregate([(name, "sum") for name in names])
    # The few are looked for among the many, so that no table of the many is made.
    places = pc.fill_null(pc.index_in(flat["prefix"], value_set=more["prefix"].combine_chunks()), -1).to_numpy()
    rows = np.flatnonzero(places >= 0)
    for name in names:
        columns[name][rows] += more[f"{name}_sum"].to_numpy()[places[rows]]
    fresh = np.ones(more.num_rows, np.bool_)
    fresh[places[rows]] = False
    added = more.filter(pa.array(fresh))
    prefix = pa.chunked_array([*flat["prefix"].chunks, *added["prefix"].chunks], pa.string())
    columns = {name: np.concatenate([columns[name], added[f"{name}_sum"].to_numpy()]) for name in names}
    kept = (columns["files"] > 0) | pc.equal(prefix, "").to_numpy()
    if added.num_rows or not kept.all():
        order = pc.sort_indices(prefix).to_numpy()
        order = order[kept[order]]
        return {name: values[order] for name, values in columns.items()}, prefix.take(pa.array(order))
    return columns, prefix


def _found(channels: Sequence[str]) -> list[str]:
    return [f"found:{name}" for name in channels]


def _flat(modules: pa.Table, channels: Sequence[str]) -> pa.Table:
    """Prefixes and counts as int64 columns, with one for each channel."""
    names = [field.name for field in Coverage.modules if field.type == pa.int32() and field.name != "depth"]
    names += [field.name for field in Coverage.modules if field.type == pa.int64()]
    column = modules["found_by"].combine_chunks()
    found = np.zeros((modules.num_rows, len(channels)), np.int64)
    values = column.flatten()
    if len(values):
        found[pc.list_value_length(column).to_numpy() > 0] = values.field("found").to_numpy().reshape(-1, len(channels))
    columns = {"prefix": modules["prefix"], **{name: modules[name].cast(pa.int64()) for name in names}}
    return pa.table(columns | {f"found:{name}": found[:, place] for place, name in enumerate(channels)})


def _rows(counts: Mapping[str, Numbers], prefix: pa.ChunkedArray, channels: Sequence[str], *, like: pa.Table) -> pa.Table:
    """The table from prefixes, ascending, and counts. Where they are those of the table `like`, so is their tree."""
    told = counts["asked"] > 0
    found = np.stack([counts[one] for one in _found(channels)], 1)[told] if channels else np.zeros((0, 0), np.int64)
    kind = Coverage.modules.field("found_by").type
    items = pa.StructArray.from_arrays(
        [pa.array(list(channels) * len(found), pa.string()), pa.array(found.ravel(), pa.int32())],
        fields=[kind.value_type.field(0), kind.value_type.field(1)],
    )
    offsets = np.concatenate([[0], np.cumsum(told)]) * len(channels)
    columns: dict[str, object] = {
        **_places(prefix, like),
        **counts,
        "found_by": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items).cast(kind),
    }
    return pa.table({field.name: columns[field.name] for field in Coverage.modules}).cast(Coverage.modules)


def _places(prefix: pa.ChunkedArray, like: pa.Table) -> dict[str, pa.ChunkedArray]:
    """Prefixes with what each is in, and how deep."""
    if prefix.equals(like["prefix"]):
        return {name: like[name] for name in ("prefix", "parent", "depth")}
    inner = pc.and_(pc.not_equal(prefix, ""), pc.invert(pc.ends_with(prefix, "/")))
    above = pc.replace_substring_regex(prefix, r"[^/]*/?$", "")
    return {
        "prefix": prefix,
        "parent": pc.if_else(pc.equal(prefix, ""), pa.scalar(None, pa.string()), above),
        "depth": pc.add(pc.count_substring(prefix, "/"), inner.cast(pa.int32())),
    }


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
