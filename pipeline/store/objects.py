"""Results of stages, addressed by their inputs: looked up, and verified before anybody gets them.

An object is a directory `objects/<asset>/<key>/` with the files that the stage wrote and `object.json`, which lists them with
size and digest and says what the object was made from. Objects are never changed. A damaged one is renamed aside, never used.

Belongs here: what an object is, and reading one. Not here: making one (`settling`), or what a version is (`versions`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import files
from pipeline.errors import IndexCorruptionError, IndexFormatError, RuntimeLifecycleError
from pipeline.stage import Artefact
from pipeline.store import digests, locks
from pipeline.store.layout import FORMAT, Repository
from pipeline.store.locks import Stamp

if TYPE_CHECKING:
    # Loads pyarrow, which a search does without.
    from pipeline.schemas import Kind

OBJECT_FILE = "object.json"

_loaded: dict[Path, tuple[int, dict[Path, tuple[Stamp | None, Artefact[Any]]]]] = {}
"""Folder of a repository -> the term of its builder, and the objects verified in it with what their records looked like."""


class StoredFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of an object or a version, by its relative POSIX path."""

    path: str
    bytes: int
    digest: str


class ObjectRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `object.json` says. `digest` covers all the rest of it, and through the files' digests all bytes."""

    format: int
    asset: str
    schema: str
    key: str
    code_version: str
    method: str
    recipe: dict[str, Any]
    base: str
    """Key of the earlier object of this asset that it was built on; empty for a full build."""
    lineage: dict[str, str]
    facts: dict[str, Any]
    files: list[StoredFile]
    digest: str = ""


class _Head(msgspec.Struct, frozen=True):
    """What is asked of a record before the rest of it: a newer format may have other fields."""

    format: int
    schema: str


def sealed_digest(record: msgspec.Struct) -> str:
    """The digest of a record without its own `digest` field."""
    described = msgspec.to_builtins(record)
    described.pop("digest", None)
    return files.digest_bytes(msgspec.json.encode(described, order="sorted"))


def list_files(root: Path, *, without: Sequence[str] = ()) -> list[StoredFile]:
    """Every file under `root` with size and digest."""
    listed = []
    for path, status in sorted(files.tree_statuses(root).items()):
        if path not in without:
            listed.append(StoredFile(path, status.st_size, digests.known(status) or digests.digest(root / path)))
    return listed


def check_file(root: Path, stored: StoredFile, *, reread: bool = False) -> str:
    """What is wrong with a stored file, or an empty text. Reads it where its digest is not known; always, with `reread`."""
    try:
        status = os.lstat(f"{root}/{stored.path}")
    except OSError:
        return f"{stored.path} is missing"
    return _wrong(root, stored, status, reread=reread)


def check_files(
    root: Path, listed: Iterable[StoredFile], *, beside: Collection[str] = (), reread: bool = False
) -> tuple[list[tuple[StoredFile, str]], list[str]]:
    """What is wrong with the files of a folder, and which files are there that are neither `listed` nor `beside` them.

    One look at the folder; files are read as `check_file` reads them.
    """
    try:
        found = files.tree_statuses(root)
    except OSError:
        found = {}
    wrong = []
    for stored in listed:
        status = found.pop(stored.path, None)
        problem = f"{stored.path} is missing" if status is None else _wrong(root, stored, status, reread=reread)
        if problem:
            wrong.append((stored, problem))
    return wrong, sorted(path for path in found if path not in beside)


def _wrong(root: Path, stored: StoredFile, status: os.stat_result, *, reread: bool) -> str:
    if not stat.S_ISREG(status.st_mode):
        return f"{stored.path} is not a regular file"
    if status.st_size != stored.bytes:
        return f"{stored.path} has {status.st_size} bytes instead of {stored.bytes}"
    digest = None if reread else digests.known(status)
    if digest is None:
        try:
            digest = digests.digest(root / stored.path, reread=reread)
        except OSError as error:
            return f"{stored.path} cannot be read: {error.strerror}"
    return "" if digest == stored.digest else f"{stored.path} is not what it was when it was written"


def _damage(root: Path, record: ObjectRecord) -> str:
    if sealed_digest(record) != record.digest:
        return f"{OBJECT_FILE} is not what it was when it was written"
    wrong, extra = check_files(root, record.files, beside=(OBJECT_FILE,))
    if extra:
        return f"{extra[0]} does not belong there"
    return wrong[0][1] if wrong else ""


def object_path(repository: Repository, asset: str, key: str) -> Path:
    """The folder of an object, whether it is there or not."""
    return repository.objects / asset / key


def load(repository: Repository, kind: type[Kind], key: str) -> Artefact[Any]:
    """A stored object, verified; once, by a builder that holds the lock all the while. Raises `IndexCorruptionError` when it is
    missing or damaged, `IndexFormatError` when it is of another schema or format."""
    root = object_path(repository, kind.asset, key)
    term = locks.term(repository)
    if term is None:
        return _load(repository, root, kind, key)
    if _loaded.get(repository.path, (None,))[0] != term:
        _loaded[repository.path] = (term, {})
    seen = _loaded[repository.path][1]
    stamp, artefact = seen.get(root, (None, None))
    if artefact is None or stamp != _stamp(root / OBJECT_FILE):
        artefact = _load(repository, root, kind, key)
        seen[root] = (_stamp(root / OBJECT_FILE), artefact)
    return artefact


def _stamp(path: Path) -> Stamp | None:
    try:
        return Stamp.of(path.stat())
    except OSError:
        return None


def _load(repository: Repository, root: Path, kind: type[Kind], key: str) -> Artefact[Any]:
    try:
        raw = (root / OBJECT_FILE).read_bytes()
        head = msgspec.json.decode(raw, type=_Head)
    except (OSError, ValueError) as error:
        raise IndexCorruptionError(
            f"The object {kind.asset}/{key} is missing or damaged: {error}.", hint="Run `indexctl build` again."
        ) from None
    if head.format > FORMAT or head.schema != kind.tag():
        raise IndexFormatError(
            f"The object {kind.asset}/{key} is `{head.schema}` in format {head.format}, not `{kind.tag()}` in {FORMAT}.",
            hint="Run `indexctl build` again.",
        )
    try:
        record = msgspec.json.decode(raw, type=ObjectRecord)
    except ValueError as error:
        raise IndexCorruptionError(
            f"The object {kind.asset}/{key} is damaged: {error}.", hint="Run `indexctl build` again."
        ) from None
    if (record.asset, record.key) != (kind.asset, key):
        raise IndexCorruptionError(
            f"The object {kind.asset}/{key} says that it is {record.asset}/{record.key}.", hint="Run `indexctl build` again."
        )
    if problem := _damage(root, record):
        raise IndexCorruptionError(f"The object {kind.asset}/{key} is damaged: {problem}.", hint="Run `indexctl build` again.")
    return _artefact(repository, root, record, reused=True)


def _artefact(repository: Repository, root: Path, record: ObjectRecord, *, reused: bool) -> Artefact[Any]:
    return Artefact(
        repo=repository.name, asset=record.asset, key=record.key, path=root, schema=record.schema, digest=record.digest,
        lineage=record.lineage, facts=record.facts, reused=reused, method=record.method,
        digests={stored.path: stored.digest for stored in record.files},
    )  # fmt: skip


def read_record(artefact: Artefact[Any]) -> ObjectRecord:
    """The full record of a settled artefact."""
    return msgspec.json.decode((artefact.path / OBJECT_FILE).read_bytes(), type=ObjectRecord)


def _set_aside(root: Path) -> None:
    if root.exists():
        root.rename(files.temporary_sibling(root))


def find(repository: Repository, kind: type[Kind], key: str) -> Artefact[Any] | None:
    """A usable object, or None. A damaged one is renamed aside, so that it is rebuilt."""
    root = object_path(repository, kind.asset, key)
    if not root.exists():
        return None
    try:
        return load(repository, kind, key)
    except (IndexCorruptionError, IndexFormatError):
        _set_aside(root)
        return None


def settled(repository: Repository, kind: type[Kind]) -> Artefact[Any]:
    """What an asset last settled on. Raises `RuntimeLifecycleError` when it never did, and what `load` raises."""
    try:
        key = (repository.refs / kind.asset).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise RuntimeLifecycleError(
            f"`{kind.asset}` of `{repository.name}` was never materialized.",
            hint="Materialize it first, or run `indexctl build`.",
        ) from None
    return load(repository, kind, key)
