"""What an error means to whoever asked, over any transport: one code for each, a sentence, and what to do.

Belongs here: which error has which code. Not here: statuses (`transport.errors`), wording, which stands where errors are
raised.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import (
    CodeIntelError,
    ConfigError,
    IndexCorruptionError,
    NotFoundError,
    QueryError,
    RuntimeLifecycleError,
    SourceError,
    StoreBusyError,
)

Code = Literal["bad_request", "not_found", "busy", "unavailable", "internal", "ending", "too_slow"]
_CODES: tuple[tuple[tuple[type[CodeIntelError], ...], Code], ...] = (
    ((QueryError, ConfigError), "bad_request"),
    ((NotFoundError, SourceError), "not_found"),
    ((StoreBusyError,), "busy"),
    ((CodeIntelError,), "unavailable"),
)
"""The first one that fits; what is damaged or not ready can be repaired, and the same request succeeds then."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer."""

    code: Code
    message: str
    hint: str = ""

    @property
    def text(self) -> str:
        """Message and hint, a line each."""
        return f"{self.message}\n{self.hint}".rstrip()


def failure_of(error: BaseException) -> Failure:
    """What to tell of an error. What nobody meant to raise goes into the log, and nothing of it to the client."""
    if isinstance(error, CodeIntelError):
        code = next(code for kinds, code in _CODES if isinstance(error, kinds))
        return Failure(code, error.message, error.hint)
    _log.error("an unexpected error", exc_info=error)
    return Failure("internal", "The service failed to answer this request.", "Its log says why.")


def error_document(code: str, message: str, hint: str) -> dict[str, Any]:
    """An error as JSON has it."""
    return {"error": {"code": code, "message": message, "hint": hint}}


@contextmanager
def reading(root: Path, *, opened: bool = False) -> Iterator[None]:
    """Where the files of a store fail, it is the store that cannot be read: `IndexCorruptionError`. With `opened`, a store that
    is gone is one that may come back: `RuntimeLifecycleError`, and not what a request without an answer raises."""
    try:
        yield
    except NotFoundError as error:
        if not opened or root.is_dir():
            raise
        raise RuntimeLifecycleError(error.message, hint=error.hint) from error
    except OSError as error:
        raise IndexCorruptionError(
            f"The store {root} cannot be read: {error.strerror or error}.",
            hint="Ask again; if that fails too, run `indexctl verify`.",
        ) from error
