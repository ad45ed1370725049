"""Where everything lies in a store.

Belongs here: opening a store, names and paths. Not here: what is written there (`objects`, `versions`).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from pipeline import files
from pipeline.config import Settings
from pipeline.errors import CodeIntelError, ConfigError, IndexFormatError, NotFoundError, RuntimeLifecycleError
from pipeline.settings_files import FILE_NAME, from_flat, load, read_settings_file

FORMAT = 2
"""Rises when a store written by this code cannot be read by the one before."""

STORE_FILE = "store.json"
SHARED = "_shared"
DAGSTER_HOME = "_dagster"
CURRENT = "CURRENT"
REPOSITORY_FILE = "repository.json"
REPOSITORIES_FILE = "repositories.toml"
"""Repositories that are registered by a file (`registration`)."""
_README = "README.md"

_BEFORE_STORE = frozenset({_README, ".gitignore", FILE_NAME, REPOSITORIES_FILE})
"""What may lie in a folder that is to become a store: people write settings first."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_VERSION = re.compile(r"v-[0-9a-f]{16}")


def check_repository_name(name: str) -> str:
    """The name itself, when it may be a repository (and a Dagster partition); raises `ConfigError` when it may not."""
    taken = name.lower() in (STORE_FILE, _README.lower(), FILE_NAME, REPOSITORIES_FILE)
    if len(name) > 100 or ".." in name or taken or not _NAME.fullmatch(name):
        raise ConfigError(
            f"`{name[:100]}` cannot be the name of a repository.",
            hint="Use letters, digits, `.`, `_`, `-`, and `/` between parts; pass it as --repo NAME.",
        )
    return name


def repository_name_from(path: Path) -> str:
    """A valid name made from a folder's own name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().name).strip("-._")
    return re.sub(r"\.\.+", ".", name)[:100] or "repository"


def is_version_name(name: str) -> bool:
    """Whether a text has the form of a version's name."""
    return _VERSION.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Repository:
    """The folder of one repository in a store."""

    name: str
    path: Path

    @property
    def objects(self) -> Path:
        """Results of stages."""
        return self.path / "objects"

    @property
    def refs(self) -> Path:
        """One file an asset: the key that it last settled on."""
        return self.path / "refs"

    @property
    def versions(self) -> Path:
        """Published versions."""
        return self.path / "versions"

    @property
    def current(self) -> Path:
        """The file that names the published version."""
        return self.path / CURRENT

    @property
    def catalog(self) -> Path:
        """The views over the published version in a DuckDB file, for people's own tools. May be deleted at any time."""
        return self.path / "catalog.duckdb"

    @property
    def traces(self) -> Path:
        """Traces of searches, and whether they are on (`store.traces`)."""
        return self.path / "trace"

    @property
    def scan_cache(self) -> Path:
        """Stat data of the last scan."""
        return self.path / "scan.cache"

    @property
    def compared(self) -> Path:
        """By how many files the repository was seen to differ from what was indexed. May be deleted at any time."""
        return self.path / "compared.cache"

    @property
    def mirror(self) -> Path:
        """The bare git repository that a remote is fetched into; of a repository that is read where it lies there is none."""
        return self.path / "mirror.git"

    @property
    def origin_file(self) -> Path:
        """Where the repository is indexed from."""
        return self.path / REPOSITORY_FILE


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a repository is indexed from. `git` is the common git directory, which worktrees share; `inside` is the folder's
    path below the top of its work tree, empty or with a slash behind it.

    Of a git remote, `remote` is the URL, and `path` the mirror in the store that it is fetched into.
    """

    name: str
    path: str
    git: str | None = None
    rev: str | None = None
    inside: str = ""
    format: int = FORMAT
    remote: str | None = None
    watched: bool = True
    """Whether sensor and schedule build it."""
    declared: bool = False
    """Whether it is registered by `repositories.toml`."""

    @property
    def shown(self) -> str:
        """What people call the place: the URL, or the path."""
        return self.remote or self.path


@dataclass(frozen=True, slots=True)
class Store:
    """A store that exists and has a format that this code reads."""

    root: Path

    @property
    def shared(self) -> Path:
        """Caches across repositories."""
        return self.root / SHARED

    def repository(self, name: str) -> Repository:
        """The place of a repository, whether it exists or not."""
        return Repository(name, self.root / quote(check_repository_name(name), safe=""))

    def repositories(self) -> list[Repository]:
        """All registered repositories, by name. Raises `NotFoundError` where the store is gone, `RuntimeLifecycleError` where
        it cannot be read."""
        try:
            entries = [entry for entry in self.root.iterdir() if not entry.name.startswith(files.TEMPORARY_PREFIX)]
        except FileNotFoundError:
            raise NotFoundError(f"The store {self.root} is gone.", hint="Is its disk there?") from None
        except OSError as error:
            raise RuntimeLifecycleError(f"The store {self.root} cannot be read: {error.strerror}.") from None
        found = [Repository(unquote(entry.name), entry) for entry in entries if (entry / REPOSITORY_FILE).is_file()]
        return sorted(found, key=lambda repository: repository.name)

    def existing(self, name: str) -> Repository:
        """A registered repository. Raises `NotFoundError`."""
        repository = self.repository(name)
        if not repository.origin_file.is_file():
            known = ", ".join(other.name for other in self.repositories()) or "none yet"
            raise NotFoundError(f"There is no repository `{name}` in {self.root}.", hint=f"Indexed repositories: {known}.")
        return repository


class _Described(msgspec.Struct):
    format: int


def open_store(root: Path) -> Store:
    """A store that is there. Raises `NotFoundError` where none is, `IndexFormatError` for a newer or a foreign one."""
    try:
        raw = (root / STORE_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"There is no index in {root}.", hint="Build one with `indexctl build PATH`.") from None
    except OSError as error:
        raise CodeIntelError(f"The store {root} cannot be read: {error.strerror}.") from error
    try:
        # Nothing else is looked at, so that a newer format may say more.
        written = msgspec.json.decode(raw, type=_Described).format
    except ValueError:
        raise IndexFormatError(f"{root / STORE_FILE} is not a store description.", hint="Choose another --data DIR.") from None
    if written > FORMAT:
        raise IndexFormatError(
            f"The store {root} has format {written}; this program reads up to {FORMAT}.",
            hint="Update codeintel-pipeline, or choose another --data DIR.",
        )
    return Store(root)


def create_store(root: Path) -> Store:
    """The store at `root`, made when it is not there. Raises `CodeIntelError` where it cannot be written."""
    try:
        return open_store(root)
    except NotFoundError:
        pass
    try:
        root.mkdir(parents=True, exist_ok=True)
        others = [entry.name for entry in root.iterdir() if entry.name not in _BEFORE_STORE]
        if STORE_FILE in others:
            return open_store(root)  # Another process was faster.
        if any(not name.startswith(files.TEMPORARY_PREFIX) for name in others):
            raise ConfigError(
                f"{root} is not empty and is not a store.", hint="Choose an empty folder with --data DIR or CODEINTEL_DATA."
            )
        if not (root / _README).exists():
            # A checkout's own `data` keeps its README under version control; everywhere else git ignores the whole store.
            files.write_file(root / ".gitignore", b"*\n")
        files.write_json(root / STORE_FILE, {"format": FORMAT, "program": "codeintel-pipeline"})
    except OSError as error:
        raise not_writable(root, error) from error
    return Store(root)


def not_writable(path: Path, error: OSError) -> CodeIntelError:
    """What to raise when the store refuses a write."""
    if error.errno == errno.ENOSPC:
        return CodeIntelError(
            f"The disk of {path} is full; nothing that was published is lost.", hint="Free some space and build again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CodeIntelError(f"The store {path} is read-only.", hint="Choose another one with --data DIR or CODEINTEL_DATA.")
    if error.errno is None:
        # NumPy reports a short write, and Tantivy a thread that could not go on, without saying why.
        return CodeIntelError(
            f"Writing to the store {path} failed, most likely because its disk is full: {error}.",
            hint="Free some space and build again; nothing that was published is lost.",
        )
    return CodeIntelError(f"Writing to the store {path} failed: {error.strerror or error}.", hint="Nothing published is lost.")


def read_origin(repository: Repository) -> Origin:
    """Where a repository comes from. Raises `NotFoundError` or `IndexFormatError`."""
    try:
        origin = msgspec.json.decode(repository.origin_file.read_bytes(), type=Origin)
        if origin.remote is None:
            return origin
        # The mirror moves with the store.
        mirror = os.path.realpath(repository.mirror)
        return msgspec.structs.replace(origin, path=mirror, git=mirror)
    except FileNotFoundError:
        raise NotFoundError(
            f"`{repository.name}` is not registered in this store.", hint="Run `indexctl build PATH`."
        ) from None
    except ValueError as error:
        raise IndexFormatError(
            f"{repository.origin_file} is damaged: {error}.", hint=f"Run `indexctl build PATH --repo {repository.name}`."
        ) from None


def write_origin(repository: Repository, origin: Origin) -> None:
    """Register a repository, or change where it is read from. Raises `CodeIntelError` where the store cannot be written."""
    try:
        files.write_json(repository.origin_file, msgspec.to_builtins(origin))
    except UnicodeEncodeError:
        raise ConfigError(f"The path {origin.path!a} is not valid UTF-8.", hint="Rename the folder, or move it.") from None
    except OSError as error:
        raise not_writable(repository.path, error) from error


def settings_of(store: Store, origin: Origin, given: Mapping[str, Any] | None = None) -> Settings:
    """Settings for a repository; later ones win.

    They are those of its own `codeintel.toml`, of the store's, of the one in its folder of the store, of the environment, and
    `given` by flat names.
    """
    found = load(store.root, store.repository(origin.name).path, repository=Path(origin.path))
    return from_flat({**found.flat(), **given}, origin="command line") if given else found


def write_settings(repository: Repository, values: Mapping[str, str | float]) -> None:
    """Set numbers and words for one repository, in its folder of the store, beside what was set there before."""
    path = repository.path / FILE_NAME
    merged = {**read_settings_file(path), **values}
    try:
        # JSON's numbers, words and lists are TOML's too.
        text = "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in sorted(merged.items()))
        files.write_file(path, text.encode())
    except OSError as error:
        raise not_writable(path, error) from error
