"""What a listing of a tree consists of, whether it comes from a disk or from a git object database.

Belongs here: the entry, how a name becomes a uri, and how content is hashed. Not here: how trees are listed
(`worktree`, `repository`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.files import seal_of

Stamp = tuple[int, int, int, int]
"""Equal stamps of equal uris mean equal bytes: (inode, size, mtime_ns, ctime_ns), or the words of a git object id and -1."""


class Entry(NamedTuple):
    """A file, or whatever else has a row."""

    uri: str
    place: str
    """Where its bytes are: a path on disk (undecodable bytes as surrogates), or a git object id in hex."""
    reason: str | None = None
    """Why it is skipped, where that is known without looking at the bytes of a regular file."""
    stamp: Stamp | None = None


def hash_of(content: bytes) -> bytes:
    """The 32 bytes of `files.content_hash`."""
    return seal_of(content)


def uri_name(name: str) -> str:
    r"""A file name as part of a uri: itself, or, where bytes are not UTF-8, those as `\xNN` and backslashes doubled.

    `name` holds such bytes as surrogates, as `os.fsdecode` gives them.
    """
    if name.isascii():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        escaped = name.replace("\\", "\\\\").encode("utf-8", "surrogateescape")
        return escaped.decode("utf-8", "backslashreplace")
    return name


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Sorted by uri, each uri once: a name that spells another's escape gets a `~` behind it."""
    ordered = sorted(entries, key=lambda entry: (entry.uri, entry.place))
    taken = {entry.uri for entry in ordered}
    if len(taken) == len(ordered):
        return ordered
    seen: set[str] = set()
    unique = []
    for entry in ordered:
        uri = entry.uri
        while uri in seen or (uri != entry.uri and uri in taken):
            uri += "~"
        seen.add(uri)
        unique.append(entry._replace(uri=uri))
    return sorted(unique, key=lambda entry: entry.uri)
