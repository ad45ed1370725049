"""The stage `splade_index`: an impact index over chunks, or the note that the channel is off.

Where parts of the table are what they were, the postings of the earlier index are updated, which gives the bytes that building
them anew would give.

Belongs here: from chunks to those files, through a cache of encodings by text. Not here: the model (`encoder`), postings and
their files (`postings`, `index_files`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline import delta, tables
from pipeline.config import Settings, SpladeSettings
from pipeline.embed.cache import RowCache
from pipeline.embed.registry import versions_of
from pipeline.embed.sentence_transformer import LIBRARIES
from pipeline.embed.stage import read_texts
from pipeline.index.splade import encoder, index_files
from pipeline.index.splade.index_files import EncoderFacts
from pipeline.index.splade.postings import POSTING, DocumentRows, Postings, build, documents_of, update
from pipeline.schemas import Chunks, SpladeIndex
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.workers import Runtime

CACHE = "splade"
"""The folder of encodings in the store's `_shared`, as `embed.cache` lays it out."""
_KEEP_AFTER = 1024
"""Encodings that are stored before the rest is computed: a processor makes a few in a second."""


def splade_index(chunks: Artefact[Chunks], settings: SpladeSettings, runtime: Runtime, out: Output[SpladeIndex]) -> Facts:
    """Index the heaviest terms of every chunk, of the text that embeddings are made of. Raises what the encoder raises."""
    if settings.splade == "off":
        index_files.write_off(out.path)
        return {"state": "off", "documents": 0}
    model = encoder.load(settings)
    postings = _postings(chunks, model, settings, runtime)
    meta = index_files.write(
        out.path,
        postings,
        EncoderFacts(name=model.name, digest=model.digest, vocabulary=model.vocabulary),
        bits=settings.splade_bits,
        document_terms=settings.splade_document_terms,
    )
    return {
        "state": "on",
        "documents": meta.documents,
        "postings": meta.postings,
        "terms": meta.terms,
        "encoder": model.name,
        "digest": model.digest,
        # More than a few say that the model's weights are too large for the steps.
        "saturated": int((postings.impacts == (1 << settings.splade_bits) - 1).sum()),
        "bytes": sum(written.bytes for written in meta.files.values()),
    }


def _postings(chunks: Artefact[Chunks], model: encoder.SparseEncoder, settings: SpladeSettings, runtime: Runtime) -> Postings:
    """The postings of all chunks: those of parts that have changed in the place of what these had, in the earlier ones."""
    earlier, same = runtime.earlier, delta.unchanged_parts(runtime.earlier, (chunks, Chunks))
    read = [read_texts(path) for path in _but(same, tables.parts(chunks.path, Chunks))]
    ids = np.concatenate([np.empty(0, np.int64), *(part_ids for part_ids, _ in read)])
    rows = _encoded([text for _, texts in read for text in texts], model, settings, runtime)
    documents = documents_of(ids, rows)
    if earlier is None or not same:
        return build(documents, bits=settings.splade_bits)
    before, old = earlier.outputs[SpladeIndex.asset].path, tables.parts(earlier.inputs[Chunks.asset].path, Chunks)
    had = (tables.read_part(path, Chunks, ["id"])["id"].to_numpy() for path in _but(same, old))
    removed = np.concatenate([np.empty(0, np.int64), *had])
    postings = index_files.open_postings(before, index_files.read_meta(before), verified=True)
    return update(postings, documents, removed, bits=settings.splade_bits)


def _but(same: frozenset[int], paths: Sequence[Path]) -> list[Path]:
    """The parts that are not the same."""
    return [path for part, path in enumerate(paths) if part not in same]


def _encoded(texts: Sequence[str], model: encoder.SparseEncoder, settings: SpladeSettings, runtime: Runtime) -> DocumentRows:
    """A row a text; what the cache has is not encoded again."""

    def encode(missing: Sequence[str]) -> Iterator[DocumentRows]:
        done = 0
        for rows in model.encode(missing):
            done += len(rows)
            runtime.progress(done, len(missing))
            yield rows

    width = settings.splade_document_terms
    if runtime.shared is None:
        return np.concatenate([np.empty((0, width), POSTING), *encode(texts)])
    cache = RowCache(runtime.shared / CACHE, encoder.document_digest(settings), width, POSTING)
    rows = cache.through(texts, encode, keep_after=_KEEP_AFTER)
    cache.flush()
    return rows


def _uses(settings: Settings) -> Mapping[str, str]:
    if settings.splade.splade == "off":
        return {}
    return {"encoder": encoder.document_digest(settings.splade), **versions_of(LIBRARIES)}


STAGE = Stage(splade_index, code_version="1", uses=_uses)
