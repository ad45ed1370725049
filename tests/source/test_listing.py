"""`snapshot.json`: what is indexed, in one file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.schemas import Snapshot
from pipeline.source import listing
from pipeline.source.listing import Listing, PartRows, read_listing, write_listing


def test_what_was_written_is_read(tmp_path: Path) -> None:
    parts = [PartRows("1", "2"), PartRows("3", "4")]
    write_listing(tmp_path, parts, ["a\nb.py", "é.go"])
    assert read_listing(tmp_path) == Listing(listing.FORMAT, parts, ["a\nb.py", "é.go"])


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"format": 1, "parts": [["1"]], "indexed": []}', b'{"format": 1', None])
def test_a_damaged_or_missing_file_is_told(tmp_path: Path, damage: bytes | None) -> None:
    if damage is not None:
        (tmp_path / Snapshot.LISTING).write_bytes(damage)
    with pytest.raises(IndexCorruptionError, match=r"snapshot\.json cannot be read.*indexctl build"):
        read_listing(tmp_path)


def test_another_format_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_listing(tmp_path, [], [])
    monkeypatch.setattr(listing, "FORMAT", 2)
    with pytest.raises(IndexFormatError, match="has format 1, not 2"):
        read_listing(tmp_path)
