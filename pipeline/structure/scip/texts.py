"""Several files in one buffer, so that positions and texts of all of them are found by one operation on columns.

Belongs here: where files and their lines begin in the buffer, and the bytes of spans. Not here: units of columns
(`positions`), what the spans are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.columns import spans_of
from pipeline.source.text import line_starts

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Texts:
    """Files, numbered as they were given. What is called a file below is such a number, what is called an offset counts the
    bytes of its file."""

    data: NDArray[np.uint8]
    """All bytes, with one between two files that no line break begins or ends with."""
    base: Numbers
    """int64 [files]: where each begins in `data`."""
    size: Numbers
    """int64 [files]: bytes."""
    starts: Numbers
    """int64 [lines]: where each line begins in `data`, ascending. A break at the very end of a file opens one more line."""
    first: Numbers
    """int64 [files + 1]: the first line of each file; after the last, the number of lines."""

    @classmethod
    def of(cls, contents: Sequence[bytes]) -> Texts:
        """These files in this order."""
        joined = b"\0".join([*contents, b""])
        size = np.array([len(content) for content in contents], np.int64)
        base = np.cumsum(size + 1) - size - 1
        breaks = line_starts(joined)[1:]
        starts = np.sort(np.concatenate((base, breaks)), kind="stable")
        first = np.append(np.searchsorted(starts, base), len(starts))
        return cls(np.frombuffer(joined, np.uint8), base, size, starts, first)

    def line_ends(self) -> Numbers:
        """int64 [lines]: where each line ends in `data`, without its break."""
        ends = np.append(self.starts, 0)[1:]
        last = self.first[1:] - 1
        inner = np.ones(len(ends), np.bool_)
        inner[last] = False
        breaks = ends[inner]
        is_pair = (self.data[breaks - 1] == 0x0A) & (breaks - 2 >= self.starts[inner]) & (self.data[breaks - 2] == 0x0D)
        ends[inner] -= 1 + is_pair
        ends[last] = self.base + self.size
        return ends

    def wide(self) -> NDArray[np.bool_]:
        """bool [files]: whether there are other bytes than those of ASCII."""
        if not len(self.base):
            return np.zeros(0, np.bool_)
        found: NDArray[np.bool_] = np.maximum.reduceat(self.data, self.base) > 0x7F
        return found

    def lines(self, file: NDArray[Any], offsets: NDArray[Any]) -> Numbers:
        """1-based lines, int64 [n], of offsets [n] in files [n]."""
        # The end of a file lies in its last line, even if that has a break.
        at = self.base[file] + np.minimum(offsets, np.maximum(self.size[file] - 1, 0))
        found: Numbers = np.searchsorted(self.starts, at, side="right") - self.first[file]
        return found

    def spans(self, file: NDArray[Any], start: NDArray[Any], end: NDArray[Any]) -> pa.LargeBinaryArray:
        """The bytes from `start` to `end` [n] in files [n]."""
        base = self.base[file]
        offsets, data = spans_of(self.data, base + start, base + end)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
