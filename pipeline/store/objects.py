"""Results of stages, addressed by their inputs: looked up, verified, built, committed, remembered.

An object is a directory `objects/<asset>/<key>/` with the files that the stage wrote and `object.json`, which lists them with
size and digest and says what the object was made from. Objects are never changed. A damaged one is renamed aside, never used.

Belongs here: the life of objects and refs. Not here: what a stage computes, or what a version is (`versions`).
"""

from __future__ import annotations

import contextlib
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import files
from pipeline.config import Settings
from pipeline.errors import IndexCorruptionError, IndexFormatError, RuntimeLifecycleError
from pipeline.stage import Artefact, External, Stage
from pipeline.store.layout import FORMAT, Repository, not_writable
from pipeline.store.locks import Stamp, builder
from pipeline.store.observed import Observed, recall, remember
from pipeline.workers import Runtime

if TYPE_CHECKING:
    # Loads pyarrow, which a search does without.
    from pipeline.schemas import Kind

OBJECT_FILE = "object.json"


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
    recipe: dict[str, Any]
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
    for path in files.tree_files(root):
        relative = path.relative_to(root).as_posix()
        if relative not in without:
            listed.append(StoredFile(relative, path.stat().st_size, files.digest_file(path)))
    return listed


_verified: dict[Path, Stamp] = {}
"""Files whose digest this process has checked, and what they looked like then."""


def check_file(root: Path, stored: StoredFile, *, reread: bool = False) -> str:
    """What is wrong with a stored file, or an empty text. Digests it once a process; always, with `reread`."""
    path = root / stored.path
    try:
        status = path.lstat()
    except OSError:
        return f"{stored.path} is missing"
    if not stat.S_ISREG(status.st_mode):
        return f"{stored.path} is not a regular file"
    if status.st_size != stored.bytes:
        return f"{stored.path} has {status.st_size} bytes instead of {stored.bytes}"
    stamp = Stamp.of(status)
    if not reread and _verified.get(path) == stamp:
        return ""
    try:
        digest = files.digest_file(path)
    except OSError as error:
        return f"{stored.path} cannot be read: {error.strerror}"
    if digest != stored.digest:
        return f"{stored.path} is not what it was when it was written"
    _verified[path] = stamp
    return ""


def forget_checked(root: Path) -> None:
    """Drop what this process remembers about files under `root`, because they are about to move."""
    for path in [path for path in _verified if path.is_relative_to(root)]:
        del _verified[path]


def _damage(root: Path, record: ObjectRecord) -> str:
    if sealed_digest(record) != record.digest:
        return f"{OBJECT_FILE} is not what it was when it was written"
    expected = {stored.path for stored in record.files} | {OBJECT_FILE}
    found = {path.relative_to(root).as_posix() for path in files.tree_files(root)}
    if extra := sorted(found - expected):
        return f"{extra[0]} does not belong there"
    for stored in record.files:
        if problem := check_file(root, stored):
            return problem
    return ""


def _object_path(repository: Repository, asset: str, key: str) -> Path:
    return repository.objects / asset / key


def load(repository: Repository, kind: type[Kind], key: str) -> Artefact[Any]:
    """A stored object, verified. Raises `IndexCorruptionError` when it is missing or damaged, `IndexFormatError` when it is
    of another schema or format."""
    root = _object_path(repository, kind.asset, key)
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
        lineage=record.lineage, facts=record.facts, reused=reused,
    )  # fmt: skip


def read_record(artefact: Artefact[Any]) -> ObjectRecord:
    """The full record of a settled artefact."""
    return msgspec.json.decode((artefact.path / OBJECT_FILE).read_bytes(), type=ObjectRecord)


def _set_aside(root: Path) -> None:
    if root.exists():
        forget_checked(root)
        root.rename(files.temporary_sibling(root))


def find(repository: Repository, kind: type[Kind], key: str) -> Artefact[Any] | None:
    """A usable object, or None. A damaged one is renamed aside, so that it is rebuilt."""
    root = _object_path(repository, kind.asset, key)
    if not root.exists():
        return None
    try:
        return load(repository, kind, key)
    except (IndexCorruptionError, IndexFormatError):
        _set_aside(root)
        return None


def check_lineage(stage: str, inputs: Mapping[str, Artefact[Any]]) -> None:
    """Inputs must be made from the same things. Raises `RuntimeLifecycleError` naming the asset that they disagree on."""
    seen: dict[str, tuple[str, str]] = {}
    for name, artefact in inputs.items():
        for asset, key in artefact.lineage.items():
            other, known = seen.setdefault(asset, (name, key))
            if known != key:
                raise RuntimeLifecycleError(
                    f"`{stage}` cannot run: its inputs `{other}` and `{name}` were made from different states of `{asset}`.",
                    hint=f"Materialize `{asset}` and everything after it together, or run `indexctl build`.",
                )


@dataclass(frozen=True, slots=True)
class Settled:
    """The outputs of a stage by asset name, and the seconds that running it took (0 when all were reused)."""

    artefacts: Mapping[str, Artefact[Any]]
    seconds: float
    observed: Mapping[str, Observed] = field(default_factory=dict)
    """By asset name: what was seen when the object was built, now or before, where that is known."""


def settle(
    repository: Repository,
    stage: Stage,
    inputs: Mapping[str, Artefact[Any]],
    settings: Settings,
    *,
    externals: Mapping[str, External] | None = None,
    runtime: Runtime | None = None,
) -> Settled:
    """Look the stage's outputs up by their keys, or run it; either way point the refs at them.

    Raises `RuntimeLifecycleError` for inputs that disagree, and what the stage raises; then the store is as it was.
    """
    externals = externals or {}
    check_lineage(stage.name, inputs)
    kinds = {kind.asset: kind for kind in stage.outputs.values()}
    input_keys = {asset: artefact.key for asset, artefact in inputs.items()}
    keys = {asset: stage.key(kind, settings, input_keys, externals) for asset, kind in kinds.items()}
    with builder(repository), _write_errors(repository):
        found = {asset: find(repository, kinds[asset], key) for asset, key in keys.items()}
        artefacts = {asset: artefact for asset, artefact in found.items() if artefact is not None}
        seconds = 0.0
        if len(artefacts) < len(keys):
            seen: dict[str, Any] = {}
            started = time.perf_counter()
            _run(repository, stage, inputs, settings, externals, replace(runtime or Runtime(), observe=seen.update), keys)
            seconds = time.perf_counter() - started
            # What another output of this stage already had stays as reused: equal keys, equal bytes.
            for asset in keys.keys() - artefacts.keys():
                artefacts[asset] = replace(load(repository, kinds[asset], keys[asset]), reused=False)
                if seen:
                    observed = Observed(key=keys[asset], at=round(time.time(), 3), seconds=round(seconds, 6), facts=seen)
                    remember(repository, asset, observed)
        for asset, key in keys.items():
            files.write_file(repository.refs / asset, f"{key}\n".encode())
    known = {asset: recall(repository, asset, key) for asset, key in keys.items()}
    return Settled(artefacts, seconds, {asset: observed for asset, observed in known.items() if observed is not None})


def _run(
    repository: Repository,
    stage: Stage,
    inputs: Mapping[str, Artefact[Any]],
    settings: Settings,
    externals: Mapping[str, External],
    runtime: Runtime,
    keys: Mapping[str, str],
) -> None:
    input_keys = {asset: artefact.key for asset, artefact in inputs.items()}
    lineage = {asset: key for artefact in inputs.values() for asset, key in artefact.lineage.items()}
    with ExitStack() as commits:
        folders = {
            asset: commits.enter_context(files.directory_commit(_object_path(repository, asset, key)))
            for asset, key in keys.items()
        }
        facts = dict(stage.call(inputs, settings, externals, runtime, folders))
        for kind in stage.outputs.values():
            asset, folder = kind.asset, folders[kind.asset]
            listed = list_files(folder)
            record = ObjectRecord(
                format=FORMAT,
                asset=asset,
                schema=kind.tag(),
                key=keys[asset],
                code_version=stage.code_version,
                recipe=stage.recipe(kind, settings, input_keys, externals),
                lineage={**lineage, **keys},
                facts=facts,
                files=listed,
            )
            record = msgspec.structs.replace(record, digest=sealed_digest(record))
            (folder / OBJECT_FILE).write_bytes(files.canonical_json(msgspec.to_builtins(record)))
            # Inode and time survive the rename; if another process finished first, its files differ in both.
            target = _object_path(repository, asset, keys[asset])
            for stored in listed:
                _verified[target / stored.path] = Stamp.of((folder / stored.path).lstat())


@contextlib.contextmanager
def _write_errors(repository: Repository) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise not_writable(repository.path, error) from error


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
