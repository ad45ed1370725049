"""The stage `chunks`: sources, syntax nodes and definitions in; the table of chunks out.

Belongs here: reading and writing tables part by part, and which way of cutting a file gets. Not here: the ways themselves.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.chunks import blocks, ids, labels
from pipeline.chunks.cast import SyntaxNodes, pack_tree
from pipeline.chunks.contents import text_slices
from pipeline.chunks.inputs import DEFINITION_COLUMNS, NODE_COLUMNS, DefinitionRows, NodeRows
from pipeline.chunks.labels import FileDefinitions
from pipeline.chunks.packing import Layout, layout, pack
from pipeline.config import ChunkSettings
from pipeline.errors import InvariantViolationError
from pipeline.schemas import AstNodes, Chunks, Definitions, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.tables import part_path, parts, parts_together, read_part, stored_bytes, write_part
from pipeline.workers import Runtime, run_jobs

_CHEAPER_THAN_PARSING = 8
"""The threshold for worker processes is in bytes to parse; cutting costs about this much less."""


@dataclass(frozen=True, slots=True)
class _Job:
    source: Path
    ast_nodes: Path
    definitions: Path
    out: Path
    part: int
    settings: ChunkSettings


@dataclass(frozen=True, slots=True)
class _Cut:
    """What a job says of its part; `sizes` are the non-whitespace bytes of its chunks, `size` its bytes."""

    ids: NDArray[np.int64]
    sizes: NDArray[np.int32]
    size: int
    by_kind: Counter[str]
    by_lang: Counter[str]


def chunks(
    source: Artefact[Snapshot],
    ast_nodes: Artefact[AstNodes],
    definitions: Artefact[Definitions],
    settings: ChunkSettings,
    runtime: Runtime,
    out: Output[Chunks],
) -> Facts:
    """Cut every indexed file into chunks that together give back its bytes.

    Raises `InvariantViolationError` when two chunks get the same id, `IndexCorruptionError` when the inputs do not belong
    together.
    """
    inputs = parts_together((source.path, Sources), (ast_nodes.path, AstNodes), (definitions.path, Definitions))
    jobs = [_Job(*paths, out.path / Chunks.name, part, settings) for part, paths in enumerate(zip(*inputs, strict=True))]
    work = stored_bytes(inputs[0]) // _CHEAPER_THAN_PARSING
    done = list(run_jobs(_cut_part, jobs, runtime, work_bytes=work))
    if settings.id_strategy == "sequence":
        _number(out.path / Chunks.name, [len(cut.ids) for cut in done])
    else:
        _check_ids(out.path, done)
    sizes = np.concatenate([cut.sizes for cut in done])
    return {
        "chunks": len(sizes),
        "bytes": sum(cut.size for cut in done),
        "median_size": int(np.median(sizes)) if len(sizes) else 0,
        "max_size": int(sizes.max(initial=0)),
        "by_kind": dict(sorted(sum((cut.by_kind for cut in done), Counter[str]()).items())),
        "by_lang": dict(sorted(sum((cut.by_lang for cut in done), Counter[str]()).items())),
    }


STAGE = Stage(chunks, code_version="2")


def _cut_part(job: _Job) -> _Cut:
    """Cut the files of one part and write its chunks."""
    sources = read_part(job.source, Sources)
    nodes = NodeRows(read_part(job.ast_nodes, AstNodes, NODE_COLUMNS))
    definitions = DefinitionRows(read_part(job.definitions, Definitions, DEFINITION_COLUMNS))
    rows = _Rows(job.settings)
    size = 0
    for uri, lang, content in zip(
        sources["uri"].to_pylist(), sources["lang"].to_pylist(), sources["content"].to_pylist(), strict=True
    ):
        size += len(content)
        if content:
            # Markdown's sections come from its headings alone.
            rows.add_file(uri, lang, content, nodes, definitions.of("" if lang == "markdown" else uri))
    table = rows.table()
    write_part(job.out, Chunks, job.part, table)
    return _Cut(
        np.array(rows.columns["id"], np.int64),
        np.array(rows.sizes, np.int32),
        size,
        Counter(rows.columns["kind"]),
        Counter(rows.columns["lang"]),
    )


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


def _number(folder: Path, counts: list[int]) -> None:
    """Raise the ids of each part by the rows of the parts before it, so that they run from 1 to n over the table."""
    before = 0
    for part, count in enumerate(counts):
        if before and count:
            table = read_part(part_path(folder, part), Chunks)
            write_part(folder, Chunks, part, table.set_column(0, Chunks.schema.field("id"), pc.add(table["id"], before)))
        before += count


def _check_ids(root: Path, done: list[_Cut]) -> None:
    """Raise `InvariantViolationError` when two chunks have one id."""
    found = ids.find_collision(np.concatenate([cut.ids for cut in done]))
    if found is None:
        return
    places = pa.concat_tables([read_part(path, Chunks, ["id", "uri", "start_line"]) for path in parts(root, Chunks)])
    rows = places.take(list(found)).to_pylist()
    where = " and ".join(f"{row['uri']} line {row['start_line']}" for row in rows)
    raise InvariantViolationError(
        f"Two chunks have the id {rows[0]['id']}: {where}.",
        hint='Build with another `id_strategy`, or with `id_strategy = "span"` and another `id_salt`.',
    )
