"""Arrays as `.npy` files, written through Python.

`np.save` hands the file to the C library, which writes the last of its buffer when it closes it, and numpy does not look at
what became of that: on a disk that is full or fails, a file that is cut would be taken for a whole one.

Belongs here: writing arrays. Not here: what is in them, or reading them back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array, replacing what is there; the bytes are those of `np.save`. Raises OSError."""
    with path.open("wb") as file:
        write_array(file, array)


def write_array(file: BinaryIO, array: NDArray[Any]) -> None:
    """Write an array where a file stands. Raises OSError, then or when the file is closed."""
    np.lib.format.write_array(_Through(file), array, allow_pickle=False)


def write_header(file: BinaryIO, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """Begin an array of this shape; its rows follow, as they lie in memory."""
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)


class _Through:
    """What numpy does not take for a file of the system's, and so writes to."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write
