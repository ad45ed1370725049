"""The locked operating point of a repository: a small file in its folder of the store, which outlives rebuilds.

It holds as long as the index is of the family that it was found for; an index of another family is searched at its tuned point.

Belongs here: that file. Not here: what becomes of it for an index (`document.operating_point`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline import files
from pipeline.errors import IndexCorruptionError
from pipeline.store.layout import Repository, not_writable

FILE = "operating_point.json"


class LockedPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A point, as FAISS writes it, and the family that takes it."""

    family: str
    parameters: str
    k_factor: float


@dataclass(frozen=True, slots=True)
class Lock:
    """The locked point, if there is one, as an input of the stages that search."""

    point: LockedPoint | None = None

    @property
    def digest(self) -> str:
        """Of the point; of its absence, the same everywhere."""
        return files.digest_bytes(msgspec.json.encode(self.point))


UNLOCKED = Lock()


def read_lock(repository: Repository) -> LockedPoint | None:
    """The locked point; None where none is. Raises `IndexCorruptionError` for a file that is damaged."""
    path = _path(repository)
    try:
        return msgspec.json.decode(path.read_bytes(), type=LockedPoint)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexCorruptionError(f"{path} is damaged: {error}.", hint="Run `indexctl tune --unlock`.") from error


def write_lock(repository: Repository, locked: LockedPoint) -> None:
    """Lock a point for the builds that follow."""
    try:
        files.write_json(_path(repository), msgspec.to_builtins(locked))
    except OSError as error:
        raise not_writable(repository.path, error) from error


def remove_lock(repository: Repository) -> bool:
    """Let the builds that follow tune again; whether there was a lock."""
    try:
        _path(repository).unlink()
        files.fsync_directory(repository.path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise not_writable(repository.path, error) from error
    return True


def _path(repository: Repository) -> Path:
    return repository.path / FILE
