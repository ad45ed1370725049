"""Writing the lexical index where the disk refuses."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.index.lexical_rows import Row
from pipeline.index.lexical_segments import write_segments


@pytest.mark.parametrize(
    ("message", "expected"),
    [("An IO error occurred: 'No space left on device (os error 28)'", errno.ENOSPC), ("Merge operation failed", None)],
)
def test_what_the_disk_says_through_tantivy_is_an_os_error(tmp_path: Path, message: str, expected: int) -> None:
    def rows() -> Iterator[Row]:
        raise ValueError(message)
        yield

    with pytest.raises(OSError) as refused:
        write_segments(tmp_path / "lexical", rows())
    assert refused.value.errno == expected
