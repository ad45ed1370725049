"""Ids of chunks: what they are made of, and that they are unique.

An id is a positive int64: blake2b with 8 bytes, read little-endian, its top bit cleared, over fields as UTF-8 or decimal ASCII
joined by `|`. By strategy the fields are

- `content`: uri, content hash, ordinal of that content in the file (from 0), so an edit elsewhere in the file moves no id;
- `span`: uri, start byte, end byte, salt;
- `sequence` hashes nothing: 1 to n in the order of the table's rows.

The one hash in 2^63 that comes out as 0 becomes 1, so ids are positive; the check for collisions covers that case too.

Belongs here: ids and content hashes. Not here: what a chunk is.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 63) - 1


def hash64(data: bytes) -> int:
    """Unsigned 64-bit blake2b of `data`, little-endian."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def make_id(*fields: str | int) -> int:
    """The id of these fields: 1 to 2^63 - 1."""
    return hash64("|".join(map(str, fields)).encode("utf-8", "surrogatepass")) & _MASK or 1


def content_ids(uri: str, content_hashes: Sequence[int]) -> list[int]:
    """Ids from the content hashes of all chunks of one file, in order."""
    seen: Counter[int] = Counter()
    found = []
    for content_hash in content_hashes:
        found.append(make_id(uri, content_hash, seen[content_hash]))
        seen[content_hash] += 1
    return found


def span_ids(uri: str, boundaries: Sequence[int], salt: str) -> list[int]:
    """Ids from the boundaries [chunks + 1] of the chunks of one file."""
    return [make_id(uri, start, end, salt) for start, end in itertools.pairwise(boundaries)]


def find_collision(ids: NDArray[np.int64]) -> tuple[int, int] | None:
    """Positions of two equal ids, ascending, or None when all differ."""
    order = np.argsort(ids, kind="stable")
    equal = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    return (int(order[equal[0]]), int(order[equal[0] + 1])) if len(equal) else None
