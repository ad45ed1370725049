"""`snapshot.json`: which files are indexed, and what the rows of each part are, in one small file beside the tables.

Whoever needs the names of all indexed files, to find what an import means, reads them here instead of in every part; and the
next snapshot sees here which of its parts would be the same.

Belongs here: that file. Not here: the tables (`stage`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.schemas import Snapshot

FORMAT = 1


class PartRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Digests of the rows of one part: of all of `files`, and of those that are indexed, whose bytes `sources` has."""

    files: str
    sources: str


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says; `indexed` are uris, sorted."""

    format: int
    parts: list[PartRows]
    indexed: list[str]


def write_listing(folder: Path, parts: Sequence[PartRows], indexed: Sequence[str]) -> None:
    """Write the file of a snapshot that is being made in `folder`."""
    document = Listing(FORMAT, list(parts), list(indexed))
    (folder / Snapshot.LISTING).write_bytes(msgspec.json.encode(document) + b"\n")


def read_listing(folder: Path) -> Listing:
    """Read it. Raises `IndexCorruptionError` when it is missing or damaged, `IndexFormatError` when it is of another format."""
    path = folder / Snapshot.LISTING
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Listing)
    except (OSError, ValueError) as error:
        raise IndexCorruptionError(f"{path} cannot be read: {error}.", hint="Run `indexctl build` again.") from error
    if found.format != FORMAT:
        raise IndexFormatError(f"{path} has format {found.format}, not {FORMAT}.", hint="Run `indexctl build` again.")
    return found
