"""FAISS indexes as files: written with their digests, and parsed only after size and digest were checked.

A damaged FAISS file can load and answer wrongly, hang, or allocate without bound: FAISS sees no byte that is not
vouched for.

Belongs here: bytes of index files. Not here: what the bytes mean (`ann`), the description (`description`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline import files
from pipeline.embed.arrays import Hashes
from pipeline.errors import IndexCorruptionError
from pipeline.index.dense.ann import Ann
from pipeline.index.dense.arrays import Ids
from pipeline.index.dense.description import (
    DELETIONS_FILE,
    DELTA_FILE,
    INDEX_FILE,
    META_VERSION,
    METRIC,
    NORMALISATION,
    ROWS_FILE,
    FileFacts,
    IndexMeta,
    write_meta,
)
from pipeline.index.dense.families import Maps, import_faiss
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.sealed import seal
from pipeline.npy import write_array

_REBUILD = "Run `indexctl verify`, then `indexctl build`."
_BLOCK = 1 << 20
_ROW = np.dtype([("id", "<i8"), ("hash", "<u8")])


class PrimaryRows(NamedTuple):
    """What the rows of a primary are, without parsing it: ids int64 [n], and hashes uint64 [n] of their vectors.

    Both in row order. The hash of a row whose vector is not known is 0.
    """

    ids: Ids
    hashes: Hashes


def write_index(index: Any, path: Path) -> FileFacts:
    """Write through Python, so that a full disk is an OSError and the digest is of what was written."""
    faiss = import_faiss()
    hasher = files.new_hash()
    with path.open("xb") as file:

        def write(block: bytes) -> int:
            hasher.update(block)
            return file.write(block)

        writer = faiss.PyCallbackIOWriter(write)
        faiss.write_index(index, writer)
        size = file.tell()
    return FileFacts(bytes=size, digest=hasher.hexdigest())


def write_parts(
    folder: Path,
    primary: Ann,
    delta: Ann | None,
    dead: Ids,
    *,
    rows: PrimaryRows,
    factory: str,
    training: dict[str, Any] | None,
    point: OperatingPoint,
    embedder_digest: str,
    first: FileFacts | None = None,
) -> IndexMeta:
    """Write primary, its rows, delta (where there is one that is not empty) and deletions, and their description.

    `first` says that the file of the primary is written already.
    """
    family = primary.family
    meta = IndexMeta(
        version=META_VERSION,
        family=family.name,
        factory=factory,
        mapping=family.mapping,
        metric=METRIC,
        normalisation=NORMALISATION,
        dimension=int(primary.index.d),
        count=len(primary),
        primary=len(primary),
        delta=0,
        deleted=0,
        training=training,
        parameters=point.parameters,
        k_factor=point.k_factor,
        files={
            INDEX_FILE: first or write_index(primary.index, folder / INDEX_FILE),
            ROWS_FILE: _write_array(folder / ROWS_FILE, _packed(rows)),
        },
        embedder_digest=embedder_digest,
        faiss=import_faiss().__version__,
    )
    return _write_changes(folder, meta, delta, dead)


def link_parts(
    folder: Path, base: Path, meta: IndexMeta, delta: Ann | None, dead: Ids, *, link: files.Link = files.link_or_copy
) -> IndexMeta:
    """The primary of the index in `base`, which `meta` describes, linked, with another delta and other deletions."""
    for name in (INDEX_FILE, ROWS_FILE):
        link(base / name, folder / name)
    return _write_changes(folder, meta, delta, dead)


def _write_changes(folder: Path, meta: IndexMeta, delta: Ann | None, dead: Ids) -> IndexMeta:
    """Write delta and deletions to a primary that is there, and the description of all."""
    written = {name: meta.files[name] for name in (INDEX_FILE, ROWS_FILE)}
    if delta is not None and len(delta):
        written[DELTA_FILE] = write_index(delta.index, folder / DELTA_FILE)
    if len(dead):
        written[DELETIONS_FILE] = write_ids(dead, folder / DELETIONS_FILE)
    added, deleted = len(delta or ()), len(dead)
    changed = {"count": meta.primary + added - deleted, "delta": added, "deleted": deleted, "files": written}
    meta = seal(msgspec.structs.replace(meta, **changed))
    write_meta(folder, meta)
    return meta


def write_ids(ids: Ids, path: Path) -> FileFacts:
    """Write ids as `.npy`."""
    return _write_array(path, ids)


def _write_array(path: Path, array: npt.NDArray[Any]) -> FileFacts:
    with path.open("xb") as file:
        write_array(file, array)
        size = file.tell()
    return FileFacts(bytes=size, digest=files.digest_file(path))


def _packed(rows: PrimaryRows) -> npt.NDArray[Any]:
    packed = np.empty(len(rows.ids), _ROW)
    packed["id"], packed["hash"] = rows.ids, rows.hashes
    return packed


def read_index(folder: Path, name: str, meta: IndexMeta, *, verified: bool, mapped: Maps) -> Any:
    """The FAISS index in a file, checked. What is `mapped` stays in the file.

    Raises `IndexCorruptionError` when it is not the file that `meta` describes, or FAISS cannot read it.
    """
    path = folder / name
    try:
        with path.open("rb") as file:
            check_bytes(path, file, meta.files.get(name), digest=not verified)
            return parse(path, file, mapped=mapped)
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=_REBUILD) from error


def read_ids(folder: Path, name: str, meta: IndexMeta, *, verified: bool) -> Ids:
    """Ids in a `.npy` file, checked, in memory."""
    ids: Ids = _read_array(folder / name, meta.files.get(name), verified=verified)
    if ids.dtype != np.int64 or ids.ndim != 1 or (np.diff(ids) <= 0).any():
        raise IndexCorruptionError(f"{folder / name} does not hold ascending ids.", hint=_REBUILD)
    return ids


def read_rows(folder: Path, meta: IndexMeta, *, verified: bool) -> PrimaryRows:
    """What the rows of the primary are. Raises `IndexCorruptionError`."""
    packed = _read_array(folder / ROWS_FILE, meta.files.get(ROWS_FILE), verified=verified)
    if packed.dtype != _ROW or packed.shape != (meta.primary,):
        raise IndexCorruptionError(f"{folder / ROWS_FILE} does not hold {meta.primary} rows.", hint=_REBUILD)
    return PrimaryRows(np.ascontiguousarray(packed["id"]), np.ascontiguousarray(packed["hash"]))


def _read_array(path: Path, expected: FileFacts | None, *, verified: bool) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file:
            check_bytes(path, file, expected, digest=not verified)
            array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    except OSError as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=_REBUILD) from error
    except IndexCorruptionError:
        raise
    except Exception as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error}.", hint=_REBUILD) from error
    return array


def check_bytes(path: Path, file: BinaryIO, expected: FileFacts | None, *, digest: bool) -> None:
    """Refuse a file that is not of the expected size and, with `digest`, of the expected bytes. Leaves it at its start."""
    if expected is None:
        raise IndexCorruptionError(f"Nothing vouches for {path}.", hint=_REBUILD)
    size = os.fstat(file.fileno()).st_size
    if size != expected.bytes:
        raise IndexCorruptionError(f"{path} has {size} bytes, not {expected.bytes}.", hint=_REBUILD)
    if digest:
        hasher = files.new_hash()
        while block := file.read(_BLOCK):
            hasher.update(block)
        if hasher.hexdigest() != expected.digest:
            raise IndexCorruptionError(f"{path} is not what its digest says.", hint=_REBUILD)
        # The same open file is parsed next: what was checked is what FAISS reads.
        file.seek(0)


def parse(path: Path, file: BinaryIO, *, mapped: Maps) -> Any:
    """The index in an open file; what is `mapped` stays there. Raises `IndexCorruptionError` when FAISS cannot read it."""
    faiss = import_faiss()
    try:
        if mapped:
            # By its descriptor, so that it is the file that was checked, whatever has the name by now.
            flag = faiss.IO_FLAG_MMAP if mapped == "lists" else faiss.IO_FLAG_MMAP_IFC
            return faiss.read_index(f"/dev/fd/{file.fileno()}", flag)
        return faiss.read_index(faiss.PyCallbackIOReader(file.read))
    except (RuntimeError, MemoryError) as error:
        raise IndexCorruptionError(f"FAISS cannot read {path}.", hint=_REBUILD) from error
