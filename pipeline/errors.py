"""The exception family. Every error that a user can cause is one of these, names what it is about, and says the way out.

Belongs here: exception classes. Not here: wording of particular errors, which stands where they are raised.
"""

from __future__ import annotations


class CodeIntelError(Exception):
    """Base of all errors that this project raises on purpose.

    `message` is one sentence; `hint` says what to do about it. `exit_code` is what `indexctl` returns.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class ConfigError(CodeIntelError):
    """A setting is unknown, of the wrong type, or out of range."""

    exit_code = 2


class QueryError(CodeIntelError):
    """A request cannot be answered as it was asked: an empty query, k of 0, SQL that is not a SELECT."""

    exit_code = 2


class SourceError(CodeIntelError):
    """What was to be indexed cannot be read: no such folder, no commits, an unknown revision."""

    exit_code = 3


class NotFoundError(CodeIntelError):
    """There is no such index, version, repository or chunk."""

    exit_code = 3


class IndexFormatError(CodeIntelError):
    """A file is not in the format that it should be in, or is of a newer one."""


class IndexCorruptionError(CodeIntelError):
    """A stored artefact is missing, truncated, or not what its digest says."""


class RuntimeLifecycleError(CodeIntelError):
    """An operation was asked for in a state that does not allow it."""


class InvariantViolationError(RuntimeLifecycleError):
    """A version may not be published, because something that must hold does not."""


class StoreBusyError(CodeIntelError):
    """Another process is building this repository, or has open what would be replaced."""

    exit_code = 4
