"""`scip.json`, beside the indexes of `scip_index`: what became of each indexer, and which files it did not take, and why.

Belongs here: its shape, writing and reading it. Not here: running indexers (`stage`), other lists of lost files
(`pipeline.catalog.losses`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.files import canonical_json
from pipeline.schemas import ScipIndex

FORMAT = 2
CHANGED = "it has changed since the index was made"
ADDED = "it is newer than the index"
_HINT = "Run `indexctl build` again."


class Loss(msgspec.Struct, frozen=True):
    """A file, and why it was lost."""

    uri: str
    reason: str


class Indexer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the indexer of a language. All are empty where indexing is off."""

    language: str
    tool: str
    tool_version: str
    status: Literal["indexed", "supplied", "absent", "failed", "off"]
    """absent: it is not installed"""
    files_indexed: int
    problem: str
    """Why it failed."""
    left_out: tuple[Loss, ...]
    """By uri; of an index that was kept, those that are still as they were."""
    made_from: str = ""
    """Digest of the snapshot that the indexer was given; empty where none was run."""
    files_given: int = 0
    """Files that the indexer was given."""
    changed: tuple[Loss, ...] = ()
    """Files that are not as they were when the index was made, or newer, by uri: known by their syntax until it is made
    again."""
    gone: int = 0
    """Files that the index knows and the snapshot has no more."""

    @property
    def has_index(self) -> bool:
        """Whether an index of the language lies beside this file."""
        return self.status in ("indexed", "supplied")

    @property
    def lost(self) -> tuple[Loss, ...]:
        """Every file of the language without symbols from the index, by uri."""
        return tuple(sorted((*self.left_out, *self.changed), key=lambda loss: loss.uri))

    @property
    def moved(self) -> int:
        """How many files changed, came or went since the index was made."""
        return len(self.changed) + self.gone

    @property
    def name(self) -> str:
        """The tool with its version."""
        return f"{self.tool} {self.tool_version}".strip()


class _Versioned(msgspec.Struct):
    version: int


class _Outcomes(msgspec.Struct):
    version: int
    indexers: tuple[Indexer, ...]


def losses(reasons: Mapping[str, str]) -> tuple[Loss, ...]:
    """What is lost, by uri, from uri -> reason."""
    return tuple(Loss(uri, reasons[uri]) for uri in sorted(reasons))


def path_in(root: Path) -> Path:
    """Where the file lies in the folder of a version or of an object of `scip_index`."""
    return root / ScipIndex.DIRECTORY / ScipIndex.META


def write(root: Path, indexers: Sequence[Indexer]) -> None:
    """Write the file; its folder must exist."""
    path_in(root).write_bytes(canonical_json(_Outcomes(FORMAT, tuple(indexers))))


def read(root: Path) -> tuple[Indexer, ...]:
    """The indexers that the file tells of.

    Raises IndexCorruptionError when it is missing, unreadable or not in its shape, IndexFormatError when it is of another
    format.
    """
    path = path_in(root)
    try:
        raw = path.read_bytes()
        version = msgspec.json.decode(raw, type=_Versioned).version
        if version != FORMAT:
            raise IndexFormatError(f"{path} is of format {version}, and this program reads format {FORMAT}.", hint=_HINT)
        return msgspec.json.decode(raw, type=_Outcomes).indexers
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IndexCorruptionError(f"{path} is missing or damaged: {error}.", hint=_HINT) from None
