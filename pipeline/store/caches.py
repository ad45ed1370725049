"""A sealed file of what processes remember of a repository, and of which repository this process holds what stands in it.

Belongs here: when it is read, and by whom it is written. Not here: what is remembered (`digests`, `readings`).
"""

from __future__ import annotations

import contextlib
from typing import Generic, TypeVar

import msgspec

from pipeline import files
from pipeline.store.layout import Repository
from pipeline.store.locks import Stamp

T = TypeVar("T", bound=msgspec.Struct)


class RepositoryCache(Generic[T]):
    """A process remembers of one repository at a time, so that none keeps what is another's."""

    def __init__(self, name: str, kind: type[T]) -> None:
        """`name` of the file in the folder of each repository, `kind` of what stands in it."""
        self._name, self._kind = name, kind
        self.forget()

    def forget(self) -> None:
        """Hold nothing of any repository."""
        self._of: Repository | None = None
        self._seen: Stamp | None = None

    def is_of_another(self, repository: Repository) -> bool:
        """Whether what this process holds is another repository's."""
        return self._of not in (None, repository)

    def news(self, repository: Repository) -> T | None:
        """What the file of a repository says; None where it says nothing, or what this process last read or wrote."""
        self._of = repository
        path = repository.path / self._name
        try:
            stamp = Stamp.of(path.stat())
        except OSError:
            return None
        payload = None if stamp == self._seen else files.read_cache(path)
        if payload is None:
            return None
        try:
            found = msgspec.msgpack.decode(payload, type=self._kind)
        except msgspec.DecodeError:
            return None
        self._seen = stamp
        return found

    def write(self, repository: Repository, kept: T) -> bool:
        """Keep it for those that follow; whether that was possible. A store that cannot be written is no reason to fail."""
        path = repository.path / self._name
        with contextlib.suppress(OSError):
            files.write_cache(path, msgspec.msgpack.encode(kept), durable=True)
            self._seen = Stamp.of(path.stat())
            return True
        return False
