"""The stage `chunks`: sources, syntax nodes and definitions in; the table of chunks out.

Belongs here: reading and writing tables part by part, what of an earlier table is kept, and which way of cutting a file gets.
Not here: the ways themselves.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import delta
from pipeline.chunks import blocks, ids, labels
from pipeline.chunks.cast import SyntaxNodes, pack_tree
from pipeline.chunks.contents import text_slices
from pipeline.chunks.inputs import DEFINITION_COLUMNS, NODE_COLUMNS, DefinitionRows, NodeRows
from pipeline.chunks.labels import FileDefinitions
from pipeline.chunks.listing import Listing, listed, read_listing
from pipeline.chunks.packing import Layout, layout, pack
from pipeline.config import ChunkSettings
from pipeline.errors import InvariantViolationError
from pipeline.schemas import AstNodes, Chunks, Definitions, Files, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import part_facts, part_path, parts, parts_together, read_part, stored_bytes, write_part
from pipeline.workers import Runtime, run_jobs

_CHEAPER_THAN_PARSING = 8
"""The threshold for worker processes is in bytes to parse; cutting costs about this much less."""


@dataclass(frozen=True, slots=True)
class _Before:
    """What a part was: its files, its chunks, and the sizes of these in the order of their rows."""

    files: Path
    chunks: Path
    sizes: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Job:
    files: Path
    source: Path
    ast_nodes: Path
    definitions: Path
    out: Path
    part: int
    settings: ChunkSettings
    before: _Before | None = None


@dataclass(frozen=True, slots=True)
class _Cut:
    """What a job says of its part; `sizes` are the non-whitespace bytes of its chunks."""

    ids: NDArray[np.int64]
    sizes: NDArray[np.int32]


def chunks(
    source: Artefact[Snapshot],
    ast_nodes: Artefact[AstNodes],
    definitions: Artefact[Definitions],
    settings: ChunkSettings,
    runtime: Runtime,
    out: Output[Chunks],
) -> Facts:
    """Cut every indexed file into chunks that together give back its bytes.

    Parts of which nothing changed are linked from the earlier result, and chunks of unchanged files are copied. Raises
    `InvariantViolationError` when two chunks get the same id, `IndexCorruptionError` when the inputs do not belong together.
    """
    inputs = parts_together((source.path, Sources), (ast_nodes.path, AstNodes), (definitions.path, Definitions))
    tables = ((source, Sources), (ast_nodes, AstNodes), (definitions, Definitions))
    # Numbers count over all rows: every edit moves those behind it.
    earlier = runtime.earlier if settings.id_strategy != "sequence" else None
    if not delta.cut_alike(earlier, source, Sources):
        earlier = None
    linked = delta.unchanged_parts(earlier, *tables)
    old = read_listing(earlier.outputs[Chunks.asset].path) if earlier is not None else None
    folder = out.path / Chunks.name
    jobs = []
    for part, paths in enumerate(zip(*inputs, strict=True)):
        if earlier is not None and part in linked:
            delta.link_part(earlier.outputs[Chunks.asset].path, out.path, Chunks, part)
            continue
        before = None
        if earlier is not None and old is not None:
            was = earlier.inputs[source.asset].path / Files.name, earlier.outputs[Chunks.asset].path / Chunks.name
            before = _Before(part_path(was[0], part), part_path(was[1], part), old.part(part).sizes)
        jobs.append(_Job(part_path(source.path / Files.name, part), *paths, folder, part, settings, before))
    work = stored_bytes(job.source for job in jobs) // _CHEAPER_THAN_PARSING
    cut = dict(zip((job.part for job in jobs), run_jobs(_cut_part, jobs, runtime, work_bytes=work), strict=True))
    if settings.id_strategy == "sequence":
        cut = _number(folder, cut)
    rows = [(done.ids, done.sizes) if (done := cut.get(part)) else _kept(old, part) for part in range(len(inputs[0]))]
    listing = listed(rows)
    _check_ids(out.path, listing)
    listing.write(out.path)
    return _facts(listing, _totals(folder, cut, earlier.outputs[Chunks.asset] if earlier is not None else None))


STAGE = Stage(chunks, code_version="3")


def _facts(listing: Listing, totals: Mapping[str, Counter[str]]) -> Facts:
    return {
        "chunks": len(listing.ids),
        "bytes": totals["bytes"][""],
        "median_size": int(np.median(listing.sizes)) if len(listing.sizes) else 0,
        "max_size": int(listing.sizes.max(initial=0)),
        "by_kind": dict(sorted(totals["by_kind"].items())),
        "by_lang": dict(sorted(totals["by_lang"].items())),
    }


def _kept(old: Listing | None, part: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    assert old is not None  # A part is linked only from what was there.
    kept = old.part(part)
    return kept.ids, kept.sizes


def _totals(folder: Path, cut: Mapping[int, object], earlier: Artefact[Chunks] | None) -> dict[str, Counter[str]]:
    """Counts over all parts: those of the earlier table, less what its parts said that were cut anew, and what the new say."""
    totals: dict[str, Counter[str]] = {name: Counter() for name in ("bytes", "by_kind", "by_lang")}

    def add(told: Mapping[str, Any], sign: int) -> None:
        for name, counts in totals.items():
            for word, count in (told[name] if name != "bytes" else {"": told[name]}).items():
                counts[word] += sign * count

    if earlier is not None:
        add(earlier.facts, 1)
    for part in cut:
        if earlier is not None:
            add(part_facts(part_path(earlier.path / Chunks.name, part)), -1)
        add(part_facts(part_path(folder, part)), 1)
    return {name: +counts for name, counts in totals.items()}


def _cut_part(job: _Job) -> _Cut:
    """Cut the files of one part, but for those that were cut before, and write its chunks."""
    sources = read_part(job.source, Sources)
    same = delta.changes(job.files, job.before.files).same if job.before is not None else frozenset()
    changed = sources.filter(pc.invert(pc.is_in(sources["uri"], value_set=pa.array(sorted(same), pa.string()))))
    rows = _Rows(job.settings)
    if changed.num_rows:
        nodes = NodeRows(read_part(job.ast_nodes, AstNodes, NODE_COLUMNS))
        definitions = DefinitionRows(read_part(job.definitions, Definitions, DEFINITION_COLUMNS))
        columns = (changed[name].to_pylist() for name in ("uri", "lang", "content"))
        for uri, lang, content in zip(*columns, strict=True):
            if content:
                # Markdown's sections come from its headings alone.
                rows.add_file(uri, lang, content, nodes, definitions.of("" if lang == "markdown" else uri))
    table, sizes = rows.table(), np.array(rows.sizes, np.int32)
    if job.before is not None:
        table, sizes = _with_kept(table, sizes, job.before, same, sources["uri"].to_pylist())
    told = {
        "bytes": int(pc.sum(pc.binary_length(sources["content"])).as_py() or 0),
        **{f"by_{name}": _counts(table[name]) for name in ("kind", "lang")},
    }
    write_part(job.out, Chunks, job.part, table, facts=told)
    return _Cut(table["id"].to_numpy().astype(np.int64, copy=False), sizes)


def _with_kept(
    table: pa.Table, sizes: NDArray[np.int32], before: _Before, same: frozenset[str], uris: Sequence[str]
) -> tuple[pa.Table, NDArray[np.int32]]:
    """New rows and those of unchanged files, in the order of `uris`, and their sizes."""
    was = read_part(before.chunks, Chunks).append_column("size", pa.array(before.sizes))
    kept = was.filter(pc.is_in(was["uri"], value_set=pa.array(sorted(same), pa.string())))
    fresh = table.cast(Chunks.schema).append_column("size", pa.array(sizes))
    woven = delta.woven(uris, kept, fresh)
    return woven.drop_columns(["size"]), woven["size"].to_numpy().astype(np.int32, copy=False)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}


@dataclass(slots=True)
class _Rows:
    """The columns of a part while it grows."""

    settings: ChunkSettings
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in Chunks.schema.names})
    sizes: list[int] = field(default_factory=list)

    def add_file(self, uri: str, lang: str, content: bytes, nodes: NodeRows, definitions: FileDefinitions) -> None:
        lines = layout(content)
        tree = nodes.nodes(uri)
        landmarks = nodes.keys(uri, content) if lang in labels.DATA_LANGUAGES else blocks.no_landmarks()
        budget = self.settings.chunk_budget
        if lang == "markdown":
            levels, landmarks = blocks.markdown(lines)
            boundaries = pack(lines, levels, budget, keep_headers=False)
        elif tree is not None:
            boundaries = pack_tree(lines, tree, definitions.start, definitions.end, budget)
        else:
            levels = blocks.indented(lines) if lang in labels.DATA_LANGUAGES else blocks.paragraphs(lines)
            boundaries = pack(lines, levels, budget)
        count = len(boundaries) - 1
        edges: list[int] = boundaries.tolist()
        hashes = [ids.hash64(content[low:high]) for low, high in itertools.pairwise(edges)]
        columns = self.columns
        columns["id"] += self._ids(uri, hashes, edges)
        columns["uri"] += [uri] * count
        columns["lang"] += [lang] * count
        columns["content_hash"] += hashes
        columns["start_byte"] += edges[:-1]
        columns["end_byte"] += edges[1:]
        columns["start_line"] += (lines.line_at(boundaries[:-1]) + 1).tolist()
        columns["end_line"] += (lines.line_at(boundaries[1:] - 1) + 1).tolist()
        self.sizes += np.diff(lines.weights[boundaries]).tolist()
        self._add_texts(lines, lang, boundaries, definitions, landmarks, _passed_over(lines, tree))

    def _ids(self, uri: str, hashes: list[int], edges: list[int]) -> list[int]:
        if self.settings.id_strategy == "content":
            return ids.content_ids(uri, hashes)
        if self.settings.id_strategy == "span":
            return ids.span_ids(uri, edges, self.settings.id_salt)
        # Numbers within the part; the stage adds those of the parts before it.
        first = len(self.columns["id"]) + 1
        return list(range(first, first + len(hashes)))

    def _add_texts(
        self,
        lines: Layout,
        lang: str,
        boundaries: NDArray[np.int64],
        definitions: FileDefinitions,
        landmarks: blocks.Landmarks,
        passed_over: NDArray[np.bool_],
    ) -> None:
        text_of = text_slices(lines.content, lang)
        about, opening = labels.main_definitions(lines, boundaries, definitions)
        names = labels.landmark_names(lines, boundaries, landmarks)
        edges: list[int] = boundaries.tolist()
        columns = self.columns
        for place, (main, first) in enumerate(zip(about.tolist(), opening.tolist(), strict=True)):
            low, high = edges[place], edges[place + 1]
            named = main if main >= 0 else first
            columns["kind"].append(definitions.kind[main] if main >= 0 else labels.kind_of(lang))
            columns["name"].append(definitions.name[named] if named >= 0 else names[place])
            columns["content"].append(text_of(low, high))
            shown = int(definitions.name_start[main]) if main >= 0 else -1
            columns["preview"].append(labels.preview(lines, low, high, shown, passed_over, text_of))

    def table(self) -> pa.Table:
        """The rows so far."""
        return pa.table(
            [pa.array(self.columns[field.name], _plain(field.type)) for field in Chunks.schema], Chunks.schema.names
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _passed_over(lines: Layout, tree: SyntaxNodes | None) -> NDArray[np.bool_]:
    """bool [lines]: comments, attributes and decorators, which say less than the line that they belong to."""
    found = np.zeros(len(lines.starts) + 1, np.int32)
    if tree is not None:
        leads = np.flatnonzero(tree.leads & (tree.end > tree.start))
        np.add.at(found, lines.line_at(tree.start[leads].astype(np.int64)), 1)
        np.add.at(found, lines.line_at(tree.end[leads].astype(np.int64) - 1) + 1, -1)
    return np.cumsum(found)[:-1] > 0


def _number(folder: Path, cut: Mapping[int, _Cut]) -> dict[int, _Cut]:
    """Raise the ids of each part by the rows of the parts before it, so that they run from 1 to n over the table."""
    before = 0
    numbered = {}
    for part, done in sorted(cut.items()):
        if before and len(done.ids):
            path = part_path(folder, part)
            table, told = read_part(path, Chunks), part_facts(path)
            table = table.set_column(0, Chunks.schema.field("id"), pc.add(table["id"], before))
            write_part(folder, Chunks, part, table, facts=told)
        numbered[part] = _Cut(done.ids + before, done.sizes)
        before += len(done.ids)
    return numbered


def _check_ids(root: Path, listing: Listing) -> None:
    """Raise `InvariantViolationError` when two chunks have one id."""
    found = ids.find_collision(listing.ids)
    if found is None:
        return
    places = pa.concat_tables([read_part(path, Chunks, ["id", "uri", "start_line"]) for path in parts(root, Chunks)])
    rows = places.take(list(found)).to_pylist()
    where = " and ".join(f"{row['uri']} line {row['start_line']}" for row in rows)
    raise InvariantViolationError(
        f"Two chunks have the id {rows[0]['id']}: {where}.",
        hint='Build with another `id_strategy`, or with `id_strategy = "span"` and another `id_salt`.',
    )
