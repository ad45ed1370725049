"""The top level of a SCIP index in protobuf's wire format: one length and payload after another.

Belongs here: splitting, and the reverse. Not here: what the payloads hold (`proto`, `reader`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import IndexFormatError
from pipeline.structure.scip.proto import DOCUMENTS, EXTERNAL_SYMBOLS, METADATA

LARGEST = 64 << 20
"""Bytes of one document at most: what is larger does not describe a source file that could be indexed."""
_LONGEST_VARINT = 10
_NAMES = {METADATA: "metadata", DOCUMENTS: "document", EXTERNAL_SYMBOLS: "external symbol"}
_FIXED = {1: 8, 5: 4}
"""Bytes of the wire types of a fixed size."""
HINT = "Make the index again, or build with `--no-scip`."


@dataclass(frozen=True, slots=True)
class Frame:
    """One field of `Index`: its number, its bytes, and the byte of the file that it begins at."""

    field: int
    payload: bytes
    at: int

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return f"byte {self.at}"


def frames(path: Path) -> Iterator[Frame]:
    """Metadata, documents and external symbols in the order of the file; fields of other numbers are passed over.

    Raises IndexFormatError naming the byte offset for an empty file, one that ends early, and anything that is not this format.
    """
    with _opened(path) as (file, size):
        start = 0
        while start < size:
            frame, start = _read(file, start, size, path)
            if frame is not None:
                yield frame


def frames_at(path: Path, starts: Iterable[int]) -> Iterator[Frame]:
    """Those of `frames` that begin at `starts`, bytes as in `Frame.at`. Raises like it."""
    with _opened(path) as (file, size):
        for start in starts:
            frame, _ = _read(file, start, size, path)
            if frame is not None:
                yield frame


def write(path: Path, found: Iterable[Frame]) -> None:
    """Write an index that has these fields."""
    with path.open("wb") as file:
        for frame in found:
            file.write(bytes([frame.field << 3 | 2]) + _encoded(len(frame.payload)) + frame.payload)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """An index and its size."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise IndexFormatError(f"The SCIP index {path} is empty: it ends at byte 0.", hint=HINT)
            yield file, size
    except OSError as error:
        raise IndexFormatError(
            f"The SCIP index {path} cannot be read: {error.strerror}.", hint="Give the path of a file."
        ) from None


def _read(file: BinaryIO, start: int, size: int, path: Path) -> tuple[Frame | None, int]:
    """The field that begins at byte `start`, None for one that is not wanted, and where the next one begins."""
    file.seek(start)
    head = file.read(2 * _LONGEST_VARINT)
    key, used = _varint(head, 0, path, start)
    field, wire = key >> 3, key & 7
    name = _NAMES.get(field)
    if field == 0 or wire in (3, 4, 6, 7) or (name and wire != 2):
        raise IndexFormatError(f"{path} is not a SCIP index: byte {start} begins no field of an index.", hint=HINT)
    length = _FIXED.get(wire, 0)
    if wire in (0, 2):
        value, used = _varint(head, used, path, start)
        length = value if wire == 2 else 0
    rest = size - start - used
    if length > rest:
        what = f"the {name or 'field'} at byte {start} has {length} bytes, and {rest} follow"
        raise IndexFormatError(f"The SCIP index {path} ends early: {what}.", hint=HINT)
    if name and length > LARGEST:
        message = f"The SCIP index {path} has a {name} of {length} bytes at byte {start}; at most {LARGEST} are read."
        raise IndexFormatError(message, hint="Exclude the file that it describes.")
    after = start + used + length
    if not name:
        return None, after
    file.seek(start + used)
    payload = file.read(length)
    if len(payload) != length:
        raise IndexFormatError(f"The SCIP index {path} was cut off at byte {start} while it was read.", hint=HINT)
    return Frame(field, payload, start), after


def _varint(data: bytes, at: int, path: Path, start: int) -> tuple[int, int]:
    """The number at `at` and where it ends; `start` is the offset of the field in the file."""
    value = shift = 0
    for index in range(at, min(at + _LONGEST_VARINT, len(data))):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    raise IndexFormatError(f"The SCIP index {path} is damaged: the field at byte {start} has no complete number.", hint=HINT)


def _encoded(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
