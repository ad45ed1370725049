"""The twin of an index: the same chunks without the text that masked queries were copied from.

A query made of a docstring finds the docstring by its words. Asked to an index without that text it must be understood. The
twin is the index itself with a few chunks replaced, in a scratch folder: a commit on top of the lexical index, a delta beside
the vectors, and learned weights updated. Token vectors are not updated, so the channel `xtr` is off there.

Belongs here: making that folder. Not here: which lines a mask takes out (`masking`), who is asked there (`evaluator`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.config import IndexSettings
from pipeline.embed import registry
from pipeline.embed.interface import document_text
from pipeline.errors import CodeIntelError
from pipeline.evaluation.change import rows_of
from pipeline.evaluation.document import TwinFacts
from pipeline.evaluation.masking import FileText
from pipeline.evaluation.queries import Query
from pipeline.evaluation.staged import Staged
from pipeline.files import scratch_folder
from pipeline.index import lexical_rows, lexical_segments, lexical_stage
from pipeline.index.dense.arrays import Ids
from pipeline.index.dense.updates import UpdatableIndex
from pipeline.index.splade import encoder, index_files
from pipeline.index.splade.postings import POSTING, documents_of, update
from pipeline.schemas import Chunks, Definitions, LexicalIndex
from pipeline.search.opened import Opened

_LEFT_OUT = {"xtr_index": "xtr"}
"""Assets that the twin has not, and the channels that need them."""


@dataclass(frozen=True, slots=True)
class Twin:
    """The index without the masked text, open for search."""

    opened: Opened
    facts: TwinFacts


@dataclass(frozen=True, slots=True)
class _Changes:
    """The chunks that lose text: their rows of `chunks` with the text that is left, and how many masks were not found."""

    files: pa.Table
    """Every chunk of the files concerned, in their order, with what is left of its text."""
    changed: Sequence[int]
    """Rows that lost something."""
    missed: int

    @property
    def ids(self) -> Ids:
        """Of the changed chunks."""
        return np.asarray(self.files["id"].to_numpy(), np.int64)[list(self.changed)]


@contextlib.contextmanager
def twin_of(opened: Opened, queries: Sequence[Query]) -> Iterator[Twin | None]:
    """The twin for these queries, as long as the block lasts; None where none is masked.

    The tables `chunks` and `definitions` are read, too. Where the text that is left cannot be embedded, the channel `dense` is
    broken there; so for `splade`.
    """
    masked = [query for query in queries if query.mask is not None]
    if not masked:
        yield None
        return
    assets = ("lexical_index", "faiss_index", "embeddings", "chunks", "definitions")
    root = opened.version.ensure(*assets)
    changes = _masked(root, masked)
    with scratch_folder("codeintel-twin-") as folder:
        _write_lexical(root, folder, changes)
        texts = _texts(changes)
        failed = {"dense": _write_vectors(opened, root, folder, changes.ids, texts)}
        if _has_splade(opened):
            failed["splade"] = _write_splade(opened, root, folder, changes.ids, texts)
        manifest = opened.version.manifest
        kept = {asset: one for asset, one in manifest.artefacts.items() if asset not in _LEFT_OUT}
        without = [_LEFT_OUT[asset] for asset, one in manifest.artefacts.items() if _on(asset, one.facts)]
        version = Staged(folder, msgspec.structs.replace(manifest, artefacts=kept), f"the twin of {opened.version.name}")
        other = Opened(version, opened.settings, opened.embed_settings, opened.splade_settings, opened.xtr_settings)
        for channel, reason in failed.items():
            if reason is not None:
                other.rest(channel, reason, math.inf)
        facts = TwinFacts(queries=len(masked), chunks=len(changes.ids), missed=changes.missed, without=without)
        try:
            yield Twin(other, facts)
        finally:
            other.close()


def _on(asset: str, facts: Mapping[str, object]) -> bool:
    return asset in _LEFT_OUT and facts["state"] != "off"


def _has_splade(opened: Opened) -> bool:
    built = opened.version.manifest.artefacts.get("splade_index")
    return built is not None and built.facts["state"] != "off"


_COLUMNS = (*lexical_rows.CHUNK_COLUMNS, "content_hash")


def _masked(root: Path, queries: Sequence[Query]) -> _Changes:
    """What each mask takes out of the query's file, of the files that hold its answers, and of copies of these chunks."""
    known = tables.plain(tables.read_table(root, Chunks, ["id", "uri", "content_hash"]))
    files_of = _files_of(known, queries)
    rows = _rows_of(root, sorted(set().union(*files_of)))
    contents = rows["content"].to_pylist()
    places: dict[str, list[int]] = {}
    for row, uri in enumerate(rows["uri"].to_pylist()):
        places.setdefault(uri, []).append(row)
    texts = {uri: FileText([contents[row] for row in there]) for uri, there in places.items()}
    missed = 0
    for query, files in zip(queries, files_of, strict=True):
        found = [texts[uri].blank(query.mask or "") for uri in sorted(files) if uri in texts]
        missed += not any(found)
    left = {places[uri][chunk]: text.content(chunk) for uri, text in texts.items() for chunk in text.changed}
    return _Changes(*_with_copies(root, known, rows, left), missed)


def _files_of(known: pa.Table, queries: Sequence[Query]) -> list[set[str]]:
    """For each query its file and those that its answers lie in; answers may be near-copies in other files."""
    wanted = pa.array(sorted({one for query in queries for one in query.positives}), pa.int64())
    answers = known.filter(pc.is_in(known["id"], value_set=wanted))
    uri_of = dict(zip(answers["id"].to_pylist(), answers["uri"].to_pylist(), strict=True))
    return [{query.uri, *(uri_of[one] for one in query.positives if one in uri_of)} for query in queries]


def _with_copies(root: Path, known: pa.Table, rows: pa.Table, left: Mapping[int, str]) -> tuple[pa.Table, list[int]]:
    """The files with what is left of their texts, and the rows that lost something: of these files, and of others in which
    the same chunks stand."""
    hashes = rows["content_hash"].take(pa.array(sorted(left), pa.int64()))
    copies = known.filter(pc.is_in(known["content_hash"], value_set=hashes.combine_chunks()))
    others = set(copies["uri"].to_pylist()) - set(rows["uri"].to_pylist())
    contents = rows["content"].to_pylist()
    same = {contents[row]: text for row, text in left.items()}
    rows = pa.concat_tables([rows, _rows_of(root, sorted(others))]).combine_chunks()
    cut = {row: same[text] for row, text in enumerate(rows["content"].to_pylist()) if text in same} | dict(left)
    texts = [cut.get(row, text) for row, text in enumerate(rows["content"].to_pylist())]
    rows = rows.set_column(rows.schema.get_field_index("content"), "content", pa.array(texts, pa.string()))
    order = pc.sort_indices(rows, sort_keys=[("uri", "ascending"), ("start_byte", "ascending")])
    place_of = np.argsort(order.to_numpy())
    return rows.take(order), sorted(int(place_of[row]) for row in cut)


def _rows_of(root: Path, uris: Sequence[str]) -> pa.Table:
    """All chunks of some files, each file's in their order."""
    return rows_of(root, Chunks, uris, _COLUMNS).combine_chunks()


def _texts(changes: _Changes) -> list[str]:
    """What is embedded of the changed chunks."""
    rows = changes.files.take(pa.array(changes.changed, pa.int64()))
    columns = (rows[name].to_pylist() for name in ("name", "uri", "content"))
    return [document_text(name, uri, content) for name, uri, content in zip(*columns, strict=True)]


def _write_lexical(root: Path, folder: Path, changes: _Changes) -> None:
    """The lexical index by links, with the changed chunks replaced: segments are never written again."""
    target = folder / LexicalIndex.DIRECTORY
    target.mkdir()
    for path in (root / LexicalIndex.DIRECTORY).iterdir():
        (target / path.name).symlink_to(path.resolve())
    for name in (LexicalIndex.META, LexicalIndex.FILES):
        (folder / name).symlink_to((root / name).resolve())
    uris = pc.unique(changes.files["uri"]).to_pylist()
    defined = rows_of(root, Definitions, uris, lexical_rows.DEFINITION_COLUMNS)
    rows = lexical_rows.rows_of(changes.files, defined)
    lexical_segments.replace_documents(target, [rows[row] for row in changes.changed], lexical_stage.segments_of(root, uris))


def _write_vectors(opened: Opened, root: Path, folder: Path, ids: Ids, texts: Sequence[str]) -> str | None:
    """The vector index with the changed chunks in a delta, and the true vectors; why not, where texts cannot be embedded."""
    try:
        made = registry.load(opened.embed_settings).encode(texts)
    except Exception as error:  # A model's runtime raises what it likes.
        return str(error) if isinstance(error, CodeIntelError) else f"{type(error).__name__}: {error}"
    index = UpdatableIndex.open(root, IndexSettings(), verified=True)
    if made.shape[1] != index.dimension:
        return f"the embedder makes vectors of dimension {made.shape[1]}, and the index has {index.dimension}"
    index.delete(ids)
    index.add(ids, made)
    index.save_beside(root, folder)
    return None


def _write_splade(opened: Opened, root: Path, folder: Path, ids: Ids, texts: Sequence[str]) -> str | None:
    """Postings with the weights of the changed chunks; why not, where texts cannot be encoded."""
    meta = index_files.read_meta(root)
    try:
        model = encoder.load(opened.splade_settings)
        rows = np.concatenate([np.empty((0, meta.document_terms), POSTING), *model.encode(texts)])
    except Exception as error:  # A model's runtime raises what it likes.
        return str(error) if isinstance(error, CodeIntelError) else f"{type(error).__name__}: {error}"
    if meta.encoder is None or model.digest != meta.encoder.digest:
        return f"{model.name} is not the model that made the impacts"
    changed = update(index_files.open_postings(root, meta, verified=True), documents_of(ids, rows), ids, bits=meta.bits)
    index_files.write(folder, changed, meta.encoder, bits=meta.bits, document_terms=meta.document_terms)
    return None
