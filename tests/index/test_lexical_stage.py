"""Writing the lexical index where the disk refuses."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import tantivy

from pipeline.index.lexical_stage import write_index


@pytest.mark.parametrize(
    ("message", "expected"),
    [("An IO error occurred: 'No space left on device (os error 28)'", errno.ENOSPC), ("Merge operation failed", errno.EIO)],
)
def test_what_the_disk_says_through_tantivy_is_an_os_error(tmp_path: Path, message: str, expected: int) -> None:
    def documents() -> Iterator[tantivy.Document]:
        raise ValueError(message)
        yield tantivy.Document()

    with pytest.raises(OSError) as refused:
        write_index(tmp_path / "lexical", documents())
    assert refused.value.errno == expected
