"""The stage `xtr_index`: a compressed vector of every token of every chunk; where the setting `xtr` is off, a note of that.

Belongs here: from chunks to encodings and roles. Not here: how tokens are encoded (`registry`), how they are stored
(`building`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.config import Settings, XtrSettings
from pipeline.errors import InvariantViolationError
from pipeline.index.dense.arrays import Ids
from pipeline.index.dense.families import import_faiss
from pipeline.index.xtr import registry
from pipeline.index.xtr.building import build
from pipeline.index.xtr.description import OFF, Maker, write_meta
from pipeline.index.xtr.encodings import EncodingCache, Encodings, Gathered, joined, rounded
from pipeline.index.xtr.names import identifiers_of, names_of
from pipeline.index.xtr.places import DEFINED, SYMBOL, Roles, file_spans, inside
from pipeline.installed import version
from pipeline.schemas import AstNodes, Chunks, Definitions, XtrIndex
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime, run_jobs

_TEXTS = 16
"""Texts of one job."""
_COST = 300
"""What a byte of text costs to encode; a byte of source costs 1 to parse."""


def xtr_index(
    chunks: Artefact[Chunks],
    definitions: Artefact[Definitions],
    ast_nodes: Artefact[AstNodes],
    settings: XtrSettings,
    runtime: Runtime,
    out: Output[XtrIndex],
) -> Facts:
    """Index the tokens of every chunk. Raises `ConfigError` when the encoder is not there."""
    if settings.xtr == "off":
        write_meta(out.path, OFF)
        return {"state": "off", "chunks": 0, "tokens": 0}
    started = time.perf_counter()
    parts = tables.parts_together((chunks.path, Chunks), (definitions.path, Definitions), (ast_nodes.path, AstNodes))
    read = [_Part.of(tables.read_part(path, Chunks, _COLUMNS)) for path in parts[0]]
    encoder = registry.load(settings)
    maker = Maker(name=encoder.name, digest=encoder.digest, dimension=encoder.dimension)
    tokens = _encoded([text for part in read for text in part.texts], settings, maker, runtime)
    runtime.observe({"encoding_seconds": round(time.perf_counter() - started, 3)})
    ids = np.concatenate([part.ids for part in read])
    roles = _roles(read, tokens, parts[1], parts[2])
    order = np.argsort(ids)
    meta = build(out.path, ids[order], tokens.take(order), _reordered(roles, tokens, order), maker, settings.xtr_bits)
    return {
        "state": "on",
        "chunks": meta.chunks,
        "tokens": meta.tokens,
        "encoder": maker.name,
        "digest": maker.digest,
        "dimension": maker.dimension,
        "bits": meta.bits,
        "centroids": meta.centroids,
        "bytes": sum(facts.bytes for facts in meta.files.values()),
    }


class _Part(NamedTuple):
    """One part of `chunks`."""

    ids: Ids
    uris: list[str]
    starts: list[int]
    ends: list[int]
    texts: list[str]

    @classmethod
    def of(cls, table: pa.Table) -> _Part:
        columns = (table[name].to_pylist() for name in ("uri", "start_byte", "end_byte", "content"))
        return cls(table["id"].to_numpy().astype(np.int64, copy=False), *columns)


_COLUMNS = ("id", "uri", "start_byte", "end_byte", "content")


class _Job(NamedTuple):
    settings: XtrSettings
    digest: str
    texts: Sequence[str]


def _encode(job: _Job) -> Encodings:
    """One job, in this process or in a worker."""
    encoder = registry.load(job.settings)
    if encoder.digest != job.digest:
        raise InvariantViolationError(f"{encoder.name} changed while it was at work.", hint="Build again.")
    return rounded(encoder.encode(job.texts))


def _encoded(texts: list[str], settings: XtrSettings, maker: Maker, runtime: Runtime) -> Gathered:
    """The tokens of all texts, through the store's cache."""
    crew = runtime if registry.in_processes(settings) else replace(runtime, workers=1)

    def encode(missing: Sequence[str]) -> Iterator[Encodings]:
        jobs = [_Job(settings, maker.digest, missing[start : start + _TEXTS]) for start in range(0, len(missing), _TEXTS)]
        yield from run_jobs(_encode, jobs, crew, work_bytes=sum(map(len, missing)) * _COST)

    if runtime.shared is not None:
        return EncodingCache(runtime.shared, maker.digest, maker.dimension).through(texts, encode)
    made = joined(list(encode(texts)), maker.dimension)
    return Gathered.of([made], np.zeros(len(texts), np.int64), np.arange(len(texts)))


def _roles(read: Sequence[_Part], tokens: Gathered, definitions: Sequence[Path], nodes: Sequence[Path]) -> Roles:
    """The roles of all tokens, uint8 [t], in the order of `tokens`."""
    roles = np.zeros(int(tokens.offsets[-1]), np.uint8)
    row = 0
    for part, definition_part, node_part in zip(read, definitions, nodes, strict=True):
        names = names_of(tables.read_part(definition_part, Definitions, ["uri", "name", "kind", "name_start_byte"]))
        identifiers = identifiers_of(tables.read_part(node_part, AstNodes, ["uri", "type", "start_byte", "end_byte"]))
        # How a chunk's text lies in its file depends on the file's encoding: hence a loop.
        for uri, start, end, text in zip(part.uris, part.starts, part.ends, part.texts, strict=True):
            own = tokens.pieces[int(tokens.piece[row])]
            spans = file_spans(text, start, end, own.spans[own.of(int(tokens.text[row]))])
            roles[tokens.offsets[row] : tokens.offsets[row + 1]] = np.where(
                inside(spans, names.get(uri)), DEFINED, 0
            ) | np.where(inside(spans, identifiers.get(uri)), SYMBOL, 0)
            row += 1
    return roles


def _reordered(roles: Roles, tokens: Gathered, order: Ids) -> Roles:
    """Roles of the same texts in another order."""
    pieces = [roles[tokens.offsets[row] : tokens.offsets[row + 1]] for row in order.tolist()]
    return np.concatenate([roles[:0], *pieces])


def _uses(settings: Settings) -> Mapping[str, str]:
    if settings.xtr.xtr == "off":
        return {}
    return {**registry.uses(settings.xtr), "faiss": str(import_faiss().__version__), "numpy": version("numpy")}


STAGE = Stage(xtr_index, code_version="1", uses=_uses)
