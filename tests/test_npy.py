"""Arrays as files: the bytes of `np.save`, and an error wherever they cannot be written."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.npy import save_array, write_array, write_header

ARRAYS: list[Any] = [
    np.arange(10, dtype=np.int64),
    np.zeros((0, 4), np.float32),
    np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2],
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.array([(1, 2.5)], [("id", "<i8"), ("of", "<f4")]),
    np.arange(3_000_000, dtype=np.float64),
]


@pytest.mark.parametrize("array", ARRAYS)
def test_the_bytes_are_those_of_numpy(array: Any, tmp_path: Path) -> None:
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "theirs.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "theirs.npy").read_bytes()
    held = io.BytesIO()
    write_array(held, array)
    assert held.getvalue() == (tmp_path / "ours.npy").read_bytes()


def test_an_array_may_be_written_row_by_row(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    with (tmp_path / "a.npy").open("wb") as file:
        write_header(file, np.float32, array.shape)
        for row in array:
            file.write(row.data)
    held = io.BytesIO()
    np.save(held, array)
    assert (tmp_path / "a.npy").read_bytes() == held.getvalue()


def test_what_does_not_fit_is_an_error_down_to_the_last_byte(tmp_path: Path) -> None:
    # So small that all of it is still in a buffer when the file is closed.
    array = np.arange(40, dtype=np.int64)
    for room in (0, 100, 128, 200, 447):
        code = (
            "import resource, signal, sys, numpy as np; from pathlib import Path; from pipeline.npy import save_array\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
            "try: save_array(Path(sys.argv[1]), np.arange(40, dtype=np.int64))\n"
            "except OSError as error: sys.exit(error.errno)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{room}.npy")], check=False)
        assert done.returncode == errno.EFBIG
    save_array(tmp_path / "whole.npy", array)
    assert (tmp_path / "whole.npy").stat().st_size == 448
