"""Published versions: resolving CURRENT, opening a version, pinning it, flipping and remembering flips.

A version is a complete directory; its `manifest.json` names every file with size and digest. A reader resolves CURRENT once,
holds a shared lock on the directory, and digests a file before its first use.

Belongs here: what is the same for every reader. Not here: making and verifying versions (`release`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from pipeline import files, instruments
from pipeline.errors import IndexCorruptionError, IndexFormatError, NotFoundError
from pipeline.store.layout import Repository, is_version_name
from pipeline.store.locks import Stamp, pin
from pipeline.store.objects import StoredFile, check_file, sealed_digest

FORMAT = 2
"""Of manifests."""
MANIFEST = "manifest.json"
HISTORY = "history.jsonl"
BUILD = "build.json"
"""Facts of the build that are not functions of its inputs: times, host, run."""

_published: dict[Path, str] = {}
"""Folder of a repository -> what was published when this process last opened it."""


class ManifestArtefact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One artefact of a version. `rows` counts table rows where there are any."""

    key: str
    code_version: str
    schema: str
    digest: str
    rows: dict[str, int]
    facts: dict[str, Any]
    recipe: dict[str, Any]
    files: list[StoredFile]


class ManifestDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `manifest.json` says. `digest` seals all the rest."""

    format: int
    version: str
    program: str
    repository: str
    commit: str | None
    dirty: bool
    parent: str | None
    settings: dict[str, Any]
    tools: dict[str, str]
    counts: dict[str, int]
    embedder: dict[str, Any]
    faiss: dict[str, Any]
    operating_point: dict[str, Any]
    evaluation: dict[str, Any]
    """What the version reached on its test queries, as `eval_metrics` and `coverage` sum it up."""
    artefacts: dict[str, ManifestArtefact]
    digest: str = ""

    def all_files(self) -> list[StoredFile]:
        """Every file of the version but the manifest and `build.json`."""
        return [stored for artefact in self.artefacts.values() for stored in artefact.files]


def read_manifest(folder: Path) -> ManifestDocument:
    """The manifest in a version's (or a manifest object's) folder, its seal checked.

    Raises `IndexCorruptionError` or, for a newer format, `IndexFormatError`.
    """
    path = folder / MANIFEST
    try:
        raw = path.read_bytes()
        head = msgspec.json.decode(raw, type=dict[str, Any])
    except (OSError, ValueError) as error:
        raise IndexCorruptionError(f"{path} is missing or damaged: {error}.", hint="Run `indexctl build` again.") from None
    written = head.get("format")
    if isinstance(written, int) and written != FORMAT:
        hint = "Update the program." if written > FORMAT else "Run `indexctl build` again."
        raise IndexFormatError(f"{path} has format {written}; this program reads {FORMAT}.", hint=hint)
    try:
        document = msgspec.json.decode(raw, type=ManifestDocument)
    except ValueError as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint="Run `indexctl build` again.") from None
    if sealed_digest(document) != document.digest:
        raise IndexCorruptionError(f"{path} is not what it was when it was written.", hint="Run `indexctl build` again.")
    return document


def read_build_facts(folder: Path) -> dict[str, Any]:
    """`build.json` of a version; empty when it cannot be read, because nothing depends on it."""
    try:
        return msgspec.json.decode((folder / BUILD).read_bytes(), type=dict[str, Any])
    except (OSError, ValueError):
        return {}


def allowed_of(facts: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    """Of `build.json`: what the gate found when the version was published, and somebody allowed: check -> problems."""
    allowed = facts.get("allowed")
    return allowed if isinstance(allowed, dict) else {}


def current_name(repository: Repository) -> str | None:
    """The published version's name, or None when nothing is published. Raises `IndexCorruptionError`."""
    try:
        name = repository.current.read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IndexCorruptionError(f"{repository.current} cannot be read: {error.strerror}.") from error
    if not is_version_name(name):
        raise IndexCorruptionError(
            f"{repository.current} does not name a version.", hint="Run `indexctl rollback` with a version, or build again."
        )
    return name


def current_or_none(repository: Repository) -> str | None:
    """The published version's name, or None where CURRENT is missing or damaged."""
    try:
        return current_name(repository)
    except IndexCorruptionError:
        return None


def version_names(repository: Repository) -> list[str]:
    """Names of the complete versions in the store, in no particular order."""
    if not repository.versions.is_dir():
        return []
    return sorted(entry.name for entry in repository.versions.iterdir() if is_version_name(entry.name))


class Flip(msgspec.Struct, frozen=True):
    """One change of CURRENT. `at` is seconds since the epoch, UTC."""

    version: str
    previous: str | None
    reason: str
    at: float


def history(repository: Repository) -> list[Flip]:
    """All flips that happened, oldest first. Lines that cannot be read are left out."""
    noted = []
    for line in _noted(repository).splitlines():
        with contextlib.suppress(ValueError):
            noted.append(msgspec.json.decode(line, type=Flip))
    now = current_or_none(repository)
    # A flip is noted before it is made. It did not happen when the next one (or the present) starts from another version.
    after = [*(flip.previous for flip in noted[1:]), now]
    return [flip for flip, following in zip(noted, after, strict=False) if following in (flip.version, None)]


def _noted(repository: Repository) -> bytes:
    try:
        return (repository.path / HISTORY).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return b""


def flip(repository: Repository, name: str, *, reason: str, at: float) -> None:
    """Point CURRENT at a version, durably, having noted it in the history: what happened is never missing there."""
    previous = current_or_none(repository)
    before = _noted(repository)
    torn = b"" if before.endswith(b"\n") or not before else b"\n"
    line = msgspec.json.encode(Flip(name, previous, reason, at)) + b"\n"
    files.write_own_file(repository.path / HISTORY, before + torn + line)
    files.write_own_file(repository.current, f"{name}\n".encode())


@dataclass
class Version:
    """An open version, pinned until it is closed. Use as a context manager."""

    repository: Repository
    name: str
    path: Path
    manifest: ManifestDocument
    _pin: int = field(repr=False)
    _stamps: dict[str, Stamp] = field(repr=False, default_factory=dict)

    def __enter__(self) -> Version:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the version go. Closing twice does nothing."""
        if self._pin >= 0:
            os.close(self._pin)
            self._pin = -1
            instruments.move("codeintel_open_versions", -1)

    def is_there(self) -> bool:
        """Whether the folder that was opened still is the one of its name: not collected, and not made anew."""
        return self._pin >= 0 and _same_directory(self._pin, self.path)

    def ensure(self, *assets: str) -> Path:
        """The version's folder, once every file of these assets has been digested in its present state.

        What was digested before is remembered beside the versions by (inode, size, mtime). Raises `IndexCorruptionError`.
        """
        learned = False
        for asset in assets:
            artefact = self.manifest.artefacts.get(asset)
            if artefact is None:
                raise NotFoundError(f"The version {self.name} has no `{asset}`.", hint="Run `indexctl build` again.")
            for stored in artefact.files:
                learned |= self._check(stored)
        if learned:
            remember_digests(self.repository, self.name, self._stamps)
        return self.path

    def untouched(self) -> bool:
        """Whether its files are those of the manifest, and all look as they did when they were digested. Reads none of them."""
        try:
            found = files.tree_statuses(self.path)
        except OSError:
            return False
        listed = self.manifest.all_files()
        same = all(self._looks_alike(stored, found.pop(stored.path, None)) for stored in listed)
        return same and found.keys() <= {MANIFEST, BUILD}

    def _looks_alike(self, stored: StoredFile, status: os.stat_result | None) -> bool:
        return status is not None and status.st_size == stored.bytes and self._stamps.get(stored.path) == Stamp.of(status)

    def _check(self, stored: StoredFile) -> bool:
        try:
            stamp = Stamp.of((self.path / stored.path).lstat())
        except OSError:
            stamp = None
        if stamp is not None and stamp.size == stored.bytes and self._stamps.get(stored.path) == stamp:
            return False
        if problem := check_file(self.path, stored):
            raise IndexCorruptionError(
                f"The version {self.name} is damaged: {problem}.",
                hint="Run `indexctl rollback` to return to an older version, or `indexctl build` to repair it.",
            )
        if stamp is not None:
            self._stamps[stored.path] = stamp
        return True


def _stamps_path(repository: Repository, name: str) -> Path:
    return repository.path / "verified" / f"{name}.json"


def remember_digests(repository: Repository, name: str, stamps: dict[str, Stamp]) -> None:
    """Note that these files of a version had the right digest. A store that cannot be written is no reason to fail."""
    with contextlib.suppress(OSError):
        files.write_there(_stamps_path(repository, name), msgspec.json.encode(stamps), below=repository.path)


def _recall_digests(repository: Repository, name: str) -> dict[str, Stamp]:
    try:
        return msgspec.json.decode(_stamps_path(repository, name).read_bytes(), type=dict[str, Stamp])
    except (OSError, ValueError):
        return {}


def open_version(repository: Repository, name: str | None = None) -> Version:
    """Open the published version, or a named one. Raises `NotFoundError`, `IndexCorruptionError`, `IndexFormatError`."""
    for _ in range(8):
        chosen = name or current_name(repository)
        if chosen is None:
            raise NotFoundError(f"`{repository.name}` has no published index.", hint="Build one with `indexctl build PATH`.")
        if not is_version_name(chosen):
            raise NotFoundError(f"`{chosen}` is not the name of a version.", hint="See `indexctl versions`.")
        folder = repository.versions / chosen
        try:
            descriptor = pin(folder)
        except OSError:
            # Either it never was, or it was collected between reading CURRENT and pinning: look again.
            if name is None and current_name(repository) != chosen:
                continue
            raise _missing(repository, chosen, named=name is not None) from None
        try:
            if not _same_directory(descriptor, folder):
                os.close(descriptor)
                continue
            manifest = read_manifest(folder)
            if manifest.version != chosen:
                raise IndexCorruptionError(
                    f"The version {chosen} says that it is {manifest.version}.", hint="Run `indexctl build` again."
                )
            opened = Version(repository, chosen, folder, manifest, descriptor, _recall_digests(repository, chosen))
            instruments.move("codeintel_open_versions", 1)
            if name is None:
                _look_for_flip(repository, chosen)
            return opened
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(descriptor)
            raise
    raise NotFoundError(f"The published version of `{repository.name}` keeps changing.", hint="Try again.")


def _look_for_flip(repository: Repository, published: str) -> None:
    """Count it where this process found another version published before."""
    if _published.setdefault(repository.path, published) != published:
        _published[repository.path] = published
        instruments.count("codeintel_flips_seen_total", repository=repository.name)


def _same_directory(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except OSError:
        return False


def _missing(repository: Repository, name: str, *, named: bool) -> NotFoundError | IndexCorruptionError:
    if named:
        return NotFoundError(f"`{repository.name}` has no version {name}.", hint="See `indexctl versions`.")
    return IndexCorruptionError(
        f"CURRENT of `{repository.name}` names {name}, which is not there.", hint="Run `indexctl build` or `indexctl rollback`."
    )


def newest_first(repository: Repository, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Versions with their build facts, the latest published first."""
    facts = {name: read_build_facts(repository.versions / name) for name in names}
    yield from sorted(facts.items(), key=lambda item: (-float(item[1].get("published_at", 0)), item[0]))
