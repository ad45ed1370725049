"""Results of stages, addressed by their inputs: looked up, verified, built, committed, remembered.

An object is a directory `objects/<asset>/<key>/` with the files that the stage wrote and `object.json`, which lists them with
size and digest and says what the object was made from. Objects are never changed. A damaged one is renamed aside, never used.

Belongs here: the life of objects and refs. Not here: what a stage computes, or what a version is (`versions`).
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import files
from pipeline.config import Settings
from pipeline.errors import IndexCorruptionError, IndexFormatError, RuntimeLifecycleError
from pipeline.stage import Artefact, Base, Earlier, External, Stage
from pipeline.store import bases, digests, locks, readings
from pipeline.store.bases import Choice
from pipeline.store.layout import FORMAT, Repository, not_writable
from pipeline.store.locks import Stamp, builder
from pipeline.store.observed import Observed, recall, remember
from pipeline.workers import Runtime

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


def _object_path(repository: Repository, asset: str, key: str) -> Path:
    return repository.objects / asset / key


def load(repository: Repository, kind: type[Kind], key: str) -> Artefact[Any]:
    """A stored object, verified; once, by a builder that holds the lock all the while. Raises `IndexCorruptionError` when it is
    missing or damaged, `IndexFormatError` when it is of another schema or format."""
    root = _object_path(repository, kind.asset, key)
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
    full: bool = False,
) -> Settled:
    """Look the stage's outputs up by their keys, or run it; either way point the refs at them. `full`: on no base.

    A stage that is run is handed what it settled on before, where that was made by the same method. Raises
    `RuntimeLifecycleError` for inputs that disagree, and what the stage raises; then the store is as it was.
    """
    check_lineage(stage.name, inputs)
    work = _Work(stage, inputs, settings, externals or {})
    digests.recall(repository)
    readings.recall(repository)
    with builder(repository), _write_errors(repository):
        choices = {asset: _sound_choice(repository, work, kind, full=full) for asset, kind in work.kinds.items()}
        found = {asset: find(repository, work.kinds[asset], choice.key) for asset, choice in choices.items()}
        artefacts = {asset: artefact for asset, artefact in found.items() if artefact is not None}
        seconds = 0.0
        if len(artefacts) < len(choices):
            seen: dict[str, Any] = {}
            started = time.perf_counter()
            earlier = _earlier(repository, work)
            _run(repository, work, replace(runtime or Runtime(), observe=seen.update, earlier=earlier), choices)
            seconds = time.perf_counter() - started
            # What another output of this stage already had stays as reused: equal keys, equal bytes.
            for asset in choices.keys() - artefacts.keys():
                key = choices[asset].key
                artefacts[asset] = replace(load(repository, work.kinds[asset], key), reused=False)
                if seen:
                    observed = Observed(key=key, at=round(time.time(), 3), seconds=round(seconds, 6), facts=seen)
                    remember(repository, asset, observed)
        for asset, choice in choices.items():
            bases.remember(repository, asset, choice)
            _refer(repository, asset, choice.key)
    known = {asset: recall(repository, asset, choice.key) for asset, choice in choices.items()}
    return Settled(artefacts, seconds, {asset: observed for asset, observed in known.items() if observed is not None})


def _refer(repository: Repository, asset: str, key: str) -> None:
    """Point the asset's ref at an object. One that points there stays as it is."""
    path, line = repository.refs / asset, f"{key}\n".encode()
    with contextlib.suppress(OSError):
        if path.read_bytes() == line:
            return
    files.write_own_file(path, line)


class _Work:
    """A stage with what it is given; `kinds` and `methods` of its outputs by asset."""

    def __init__(
        self,
        stage: Stage,
        inputs: Mapping[str, Artefact[Any]],
        settings: Settings,
        externals: Mapping[str, External],
    ) -> None:
        self.stage, self.inputs, self.settings, self.externals = stage, inputs, settings, externals
        self.input_keys = {asset: artefact.key for asset, artefact in inputs.items()}
        self.kinds = {kind.asset: kind for kind in stage.outputs.values()}
        methods = {asset: artefact.method for asset, artefact in inputs.items()}
        self.methods = {asset: stage.method(kind, settings, methods) for asset, kind in self.kinds.items()}

    def choice(self, repository: Repository, kind: type[Kind], *, full: bool) -> Choice:
        """The key of one output, and on what it is built."""
        method = self.methods[kind.asset]
        return bases.choose(repository, self.stage, kind, self.settings, self.input_keys, self.externals, method, full=full)


def _sound_choice(repository: Repository, work: _Work, kind: type[Kind], *, full: bool) -> Choice:
    """The key of one output, and a base that can be read. A damaged one is set aside, and another chosen."""
    while True:
        choice = work.choice(repository, kind, full=full)
        needed = choice.base and not _object_path(repository, kind.asset, choice.key).exists()
        if not needed or find(repository, kind, choice.base) is not None:
            return choice


def _earlier(repository: Repository, work: _Work) -> Earlier | None:
    """What the stage settled on before, and from what; None where anything of it is gone, or made by another method."""
    made: dict[str, Artefact[Any]] = {}
    for asset, kind in work.kinds.items():
        try:
            made[asset] = settled(repository, kind)
        except (IndexCorruptionError, IndexFormatError, RuntimeLifecycleError):
            return None
        if made[asset].method != work.methods[asset]:
            return None
    inputs = _made_from(repository, work.stage, list(made.values()))
    return None if inputs is None else Earlier(made, inputs)


def _made_from(repository: Repository, stage: Stage, made: Sequence[Artefact[Any]]) -> Mapping[str, Artefact[Any]] | None:
    """The inputs that all of these outputs were made from; None where one is gone, or where they were made apart."""
    recipes = [read_record(artefact).recipe["inputs"] for artefact in made]
    if any(recipe != recipes[0] for recipe in recipes):
        return None
    found: dict[str, Artefact[Any]] = {}
    for kind in stage.inputs.values():
        try:
            found[kind.asset] = load(repository, kind, recipes[0][kind.asset])
        except (IndexCorruptionError, IndexFormatError, KeyError):
            return None
    return found


def _base(repository: Repository, work: _Work, choices: Mapping[str, Choice]) -> Base[Any]:
    """What the stage builds on, with what that was made from, as far as the store has it."""
    for kind in work.stage.bases.values():
        if key := choices[kind.asset].base:
            artefact = load(repository, kind, key)
            return Base(artefact, _made_from(repository, work.stage, [artefact]) or {})
    return Base()


def _run(repository: Repository, work: _Work, runtime: Runtime, choices: Mapping[str, Choice]) -> None:
    stage, inputs = work.stage, work.inputs
    keys = {asset: choice.key for asset, choice in choices.items()}
    lineage = {asset: key for artefact in inputs.values() for asset, key in artefact.lineage.items()}
    base = _base(repository, work, choices)
    with ExitStack() as commits:
        folders = {
            asset: commits.enter_context(files.directory_commit(_object_path(repository, asset, key)))
            for asset, key in keys.items()
        }
        facts = dict(stage.call(inputs, work.settings, work.externals, runtime, folders, base))
        for asset, kind in work.kinds.items():
            folder = folders[asset]
            record = ObjectRecord(
                format=FORMAT,
                asset=asset,
                schema=kind.tag(),
                key=keys[asset],
                code_version=stage.code_version,
                method=work.methods[asset],
                recipe=stage.recipe(kind, work.settings, work.input_keys, work.externals),
                base=choices[asset].base,
                lineage={**lineage, **keys},
                facts=facts,
                # Digests are known by inode, which survives the rename: links to what is there already are not read.
                files=list_files(folder),
            )
            record = msgspec.structs.replace(record, digest=sealed_digest(record))
            (folder / OBJECT_FILE).write_bytes(files.canonical_json(msgspec.to_builtins(record)))


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
