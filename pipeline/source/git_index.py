"""Git's index file, read directly: libgit2's own objects cost ten times as much, for every entry there is.

Versions 2 and 3 of the format with SHA-1 are read (gitformat-index(5)). Of whatever else there is, libgit2 is asked, which
refuses some of it.

Belongs here: that format. Not here: what is asked of git (`repository`, `git_memo`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_HEADER, _FIXED = 12, 62
_NAME_BITS, _EXTENDED = 0xFFF, 0x4000
_SPECIAL = 0xF000
"""Bits of flags that say that an entry is not simply what HEAD and the work tree are compared with."""
_SUBMODULE = 0o160000
_OID_BYTES = 20
_TRAILER = 20
_OTHER_FORMATS = (b"link", b"sdir")


@dataclass(frozen=True, slots=True)
class IndexFile:
    """The entries of an index, as columns of equal length n, sorted by name."""

    names: list[bytes]
    stat: NDArray[np.int64]
    """[n, 10]: ctime and mtime (s, ns each), device, inode, mode, user, group, size; each of 32 bits."""
    flags: NDArray[np.int64]
    tree: bytes | None
    """Id of the tree that the whole index is, where that is known."""

    @property
    def is_submodule(self) -> NDArray[np.bool_]:
        """[n]."""
        found: NDArray[np.bool_] = (self.stat[:, 6] & 0o170000) == _SUBMODULE
        return found

    @property
    def has_special(self) -> bool:
        """Whether an entry is in conflict, or git was told not to look at its file."""
        return bool((self.flags & _SPECIAL).any())


def read_index(path: Path) -> IndexFile | None:
    """Read an index file; None where it is not of the kind that is read here, or damaged."""
    try:
        return _parse(path.read_bytes())
    except (OSError, ValueError, IndexError):
        return None


def _parse(data: bytes) -> IndexFile | None:
    if data[:4] != b"DIRC" or int.from_bytes(data[4:8], "big") not in (2, 3):
        return None
    names: list[bytes] = []
    starts: list[int] = []
    at = _HEADER
    for _ in range(int.from_bytes(data[8:12], "big")):
        flags = data[at + 60] << 8 | data[at + 61]
        begin = at + _FIXED + (2 if flags & _EXTENDED else 0)
        length = flags & _NAME_BITS
        end = begin + length if length < _NAME_BITS else data.index(0, begin)
        names.append(data[begin:end])
        starts.append(at)
        at += (end - at + 8) & ~7
    tree: bytes | None = None
    while at < len(data) - _TRAILER:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if name in _OTHER_FORMATS:
            return None
        if name == b"TREE":
            tree = _root(data[at + 8 : at + 8 + size])
        at += 8 + size
    if at != len(data) - _TRAILER or any(after <= before for before, after in itertools.pairwise(names)):
        return None
    rows = np.frombuffer(data, np.uint8)[np.array(starts, np.int64)[:, None] + np.arange(_FIXED)].reshape(-1, _FIXED)
    stat = np.ascontiguousarray(rows[:, :40]).view(">u4").astype(np.int64)
    flags_of = np.ascontiguousarray(rows[:, 60:]).view(">u2").astype(np.int64).ravel()
    return IndexFile(names, stat, flags_of, tree)


def _root(cached: bytes) -> bytes | None:
    """The id of the root in the extension that remembers trees; None where it is out of date."""
    head, _, rest = cached.partition(b"\n")
    path, _, counts = head.partition(b"\0")
    return rest[:_OID_BYTES] if path == b"" and not counts.startswith(b"-") and len(rest) >= _OID_BYTES else None
