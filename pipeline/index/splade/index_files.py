"""The impact index as files: `splade/*.npy`, memory-mapped, and `splade.meta.json`, which vouches for them.

    splade.meta.json     who encoded, how many there are of everything, size and digest of each file; sealed
    splade/ids.npy       int64 [n], ascending: row -> chunk
    splade/terms.npy     int32 [t], ascending: the terms that have postings
    splade/offsets.npy   int64 [t + 1]: where the postings of each begin and end
    splade/rows.npy      int32 [p]: documents, ascending within a term
    splade/impacts.npy   uint8 or uint16 [p]: weights in units of `postings.STEPS`

Where the channel is off there is the description alone, and it says so.

Belongs here: that format. Not here: what the arrays mean (`postings`), searching them (`impact_index`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from pipeline import files
from pipeline.embed.arrays import open_array
from pipeline.errors import IndexCorruptionError
from pipeline.index import sealed
from pipeline.index.dense.description import FileFacts
from pipeline.index.dense.index_files import check_bytes
from pipeline.index.sealed import REBUILD, Sealed
from pipeline.index.splade.postings import Postings
from pipeline.npy import write_array

FORMAT = 1
DIRECTORY = "splade"
META = "splade.meta.json"
"""As in `schemas.SpladeIndex`, which a search process does not import, for it would bring Arrow; a test holds them equal."""

_ARRAYS: dict[str, np.dtype[Any]] = {
    "ids": np.dtype(np.int64),
    "terms": np.dtype(np.int32),
    "offsets": np.dtype(np.int64),
    "rows": np.dtype(np.int32),
}


class EncoderFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who made the impacts: its name, the digest of all that encodings depend on, and the size of its vocabulary."""

    name: str
    digest: str
    vocabulary: int


class SpladeMeta(Sealed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`splade.meta.json`."""

    version: int = FORMAT
    encoder: EncoderFacts | None = None
    """None where the channel is off."""
    bits: Literal[8, 16] = 16
    """Of an impact."""
    document_terms: int = 0
    """So many terms of a document were kept at the most."""
    documents: int = 0
    terms: int = 0
    """Distinct ones, with postings."""
    postings: int = 0
    files: dict[str, FileFacts] = msgspec.field(default_factory=dict)


def write(folder: Path, postings: Postings, encoder: EncoderFacts, *, bits: Literal[8, 16], document_terms: int) -> SpladeMeta:
    """Write the arrays and their description; equal postings give equal bytes."""
    written = {}
    (folder / DIRECTORY).mkdir(parents=True, exist_ok=True)
    for name in (*_ARRAYS, "impacts"):
        path = folder / DIRECTORY / f"{name}.npy"
        with path.open("xb") as file:
            write_array(file, getattr(postings, name))
        written[path.name] = FileFacts(bytes=path.stat().st_size, digest=files.digest_file(path))
    meta = SpladeMeta(
        encoder=encoder,
        bits=bits,
        document_terms=document_terms,
        documents=len(postings.ids),
        terms=len(postings.terms),
        postings=len(postings.rows),
        files=written,
    )
    return _write_meta(folder, meta)


def write_off(folder: Path) -> SpladeMeta:
    """Write the description of a channel that is off."""
    return _write_meta(folder, SpladeMeta())


def _write_meta(folder: Path, meta: SpladeMeta) -> SpladeMeta:
    written = sealed.seal(meta)
    (folder / META).write_bytes(files.canonical_json(written))
    return written


def read_meta(folder: Path) -> SpladeMeta:
    """The description. Raises `IndexCorruptionError` when it is missing or damaged, `IndexFormatError` for another format."""
    return sealed.read(folder / META, SpladeMeta, FORMAT)


def open_postings(folder: Path, meta: SpladeMeta, *, verified: bool = False) -> Postings:
    """The arrays that `meta` describes, memory-mapped; their digests are checked unless somebody `verified` them.

    Raises `IndexCorruptionError` for a file that is missing, of another size or digest, or that does not fit the others.
    """
    kinds = {**_ARRAYS, "impacts": np.dtype(np.uint8 if meta.bits == 8 else np.uint16)}
    arrays = {name: _open(folder / DIRECTORY / f"{name}.npy", meta, kind, verified=verified) for name, kind in kinds.items()}
    found = Postings(**arrays)
    sizes = (len(found.ids), len(found.terms), len(found.offsets) - 1, len(found.rows), len(found.impacts))
    expected = (meta.documents, meta.terms, meta.terms, meta.postings, meta.postings)
    if sizes != expected or (found.offsets[0], found.offsets[-1]) != (0, meta.postings) or (np.diff(found.offsets) < 0).any():
        raise IndexCorruptionError(f"The files in {folder / DIRECTORY} do not fit each other.", hint=REBUILD)
    return found


def _open(path: Path, meta: SpladeMeta, kind: np.dtype[Any], *, verified: bool) -> Any:
    try:
        with path.open("rb") as file:
            # Before anything is mapped: a header may lie about what follows it.
            check_bytes(path, file, meta.files.get(path.name), digest=not verified)
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=REBUILD) from error
    return open_array(path, kind, dimensions=1)
