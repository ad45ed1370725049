"""SCIP indexes as Arrow columns, a bounded group of documents at a time.

The top level of the file is split by hand and each group of documents decoded in one call from protobuf to Arrow, so memory
follows the group and not the index. An index may come from anywhere: whatever is wrong with it is an `IndexFormatError`.

Belongs here: decoding, ranges, kinds. Not here: message types (`proto`), framing (`frames`), the JSON dialects
(`json_dialects`), columns as bytes (`positions`), the grammar of symbols (`symbol_grammar`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import IndexFormatError
from pipeline.schemas import ScipSymbols
from pipeline.structure.scip import json_dialects, proto
from pipeline.structure.scip.frames import HINT, Frame, frames, frames_at
from pipeline.structure.scip.positions import byte_offsets, column_unit

__all__ = [
    "Contents",
    "DocumentGroup",
    "ScipMetadata",
    "byte_offsets",
    "column_unit",
    "read_contents",
    "read_documents",
    "read_metadata",
    "read_occurrences",
]

GROUP_BYTES = 8 << 20
GROUP_DOCUMENTS = 4096
_DEEP = 32 << 10
"""Payloads from this size on could nest deeply enough to exhaust the stack of a decoder that does not count levels."""
_RANGE_COLUMNS = ("start_line", "start_column", "end_line", "end_column")
_SUFFIX_KINDS = {
    "/": "namespace", "#": "type", ").": "method", ".": "term",
    "]": "type parameter", ")": "parameter", ":": "meta", "!": "macro",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScipMetadata:
    """Which tool made an index, and of what."""

    tool_name: str
    tool_version: str
    project_root: str
    version: int


@dataclass(frozen=True, slots=True)
class DocumentGroup:
    """Some documents of an index.

    `paths` and `encoding` (0 undeclared, 1 UTF-8, 2 UTF-16, 3 UTF-32) have one entry a document; both tables point into them by
    `document` (int32).

    `occurrences`: document, start_line, start_column, end_line, end_column (int32, from 0, half-open, as the index has them: an
    end may lie before its start), symbol (dictionary), roles (int32, SCIP's bits), and enclosing_start_line,
    enclosing_start_column, enclosing_end_line, enclosing_end_column (int32, -1 where absent). Occurrences that name no symbol
    are left out: they only say how to colour a token.

    `symbols`: document (-1 for external symbols), symbol, display_name, kind (lower-case words; where the tool says none, what
    the last descriptor is, or `local`), signature, documentation (paragraphs joined by a blank line), relationships as in
    `schemas.ScipSymbols`.
    """

    paths: list[str]
    encoding: NDArray[np.int32]
    occurrences: pa.Table
    symbols: pa.Table


def read_occurrences(path: Path, *, language: str) -> Iterator[DocumentGroup]:
    """The documents and external symbols of an index, protobuf or JSON, in the order of the file.

    `language` is what the index was made for, as named in messages; nothing is filtered by it. Paths are as written: one may
    come twice, or lead out of the project. A group holds about 8 MB of the file, or one document. Raises IndexFormatError
    naming the file and the byte offset of the part that is not as it should be.
    """
    yield from _groups(_known(path), f"The SCIP index for {language} {path}")


@dataclass(frozen=True, slots=True)
class Contents:
    """Where the documents of an index lie in its file: `paths` as they are written, and the bytes that they begin at, int64
    [documents]; and the same of external symbols."""

    paths: list[str]
    starts: NDArray[np.int64]
    external: NDArray[np.int64]


def read_contents(path: Path, *, language: str) -> Contents:
    """What is where in an index in protobuf. Raises IndexFormatError like `read_occurrences`, but decodes paths alone."""
    paths: list[str] = []
    starts: dict[int, list[int]] = {proto.METADATA: [], proto.DOCUMENTS: [], proto.EXTERNAL_SYMBOLS: []}
    decode = proto.message_class("DocumentPath").FromString
    for frame in _known(path):
        starts[frame.field].append(frame.at)
        if frame.field == proto.DOCUMENTS:
            try:
                paths.append(decode(frame.payload).relative_path)
            except Exception as error:  # the decoder's own class differs by implementation
                raise _wrong(f"The SCIP index for {language} {path}", frame, f"cannot be read ({error})") from None
    documents, external = (np.array(starts[field], np.int64) for field in (proto.DOCUMENTS, proto.EXTERNAL_SYMBOLS))
    return Contents(paths, documents, external)


def read_documents(path: Path, starts: NDArray[np.int64], *, language: str) -> Iterator[DocumentGroup]:
    """What `read_occurrences` gives, of the documents and external symbols that begin at `starts`, bytes as in `Contents`."""
    yield from _groups(frames_at(path, starts.tolist()), f"The SCIP index for {language} {path}")


def _known(path: Path) -> Iterator[Frame]:
    """What an index holds, which must be something."""
    frame = None
    for frame in _frames(path):
        yield frame
    if frame is None:
        raise IndexFormatError(f"{path} is not a SCIP index: from byte 0 on it holds nothing that an index has.", hint=HINT)


def _groups(found: Iterable[Frame], name: str) -> Iterator[DocumentGroup]:
    """Frames decoded a group at a time; `name` is how to call the index in an error."""
    decoder = _Decoder(name)
    group: list[Frame] = []
    size = 0
    for frame in found:
        if frame.field == proto.METADATA:
            continue
        if group and (size + len(frame.payload) > GROUP_BYTES or len(group) >= GROUP_DOCUMENTS):
            yield decoder.group(group)
            group, size = [], 0
        group.append(frame)
        size += len(frame.payload)
    if group:
        yield decoder.group(group)


def _wrong(name: str, frame: Frame, what: str) -> IndexFormatError:
    part = "document" if frame.field == proto.DOCUMENTS else "external symbol"
    return IndexFormatError(f"{name} is damaged: the {part} at {frame.place} {what}.", hint=HINT)


def read_metadata(path: Path) -> ScipMetadata:
    """Which tool made an index. Raises IndexFormatError when the index does not say, or is none."""
    for frame in _frames(path):
        if frame.field == proto.METADATA:
            try:
                message = proto.message_class("Metadata").FromString(frame.payload)
            except Exception as error:  # the decoder's own class differs by implementation
                raise IndexFormatError(f"The metadata of {path} at {frame.place} is damaged: {error}.", hint=HINT) from None
            tool = message.tool_info
            return ScipMetadata(tool.name, tool.version, message.project_root, message.version)
    raise IndexFormatError(f"{path} is not a SCIP index: from byte 0 to its end no metadata is found.", hint=HINT)


def _frames(path: Path) -> Iterator[Frame]:
    return json_dialects.frames(path) if json_dialects.is_json(path) else frames(path)


class _Decoder:
    """The two decoders of an index, and how to name that index in an error."""

    def __init__(self, name: str) -> None:
        import ptars

        pool = ptars.HandlerPool([proto.descriptor()])
        types = proto.descriptor().message_types_by_name
        self._name = name
        self._documents = pool.get_for_message(types["Document"])
        self._symbols = pool.get_for_message(types["SymbolInformation"])
        self._checked = {
            proto.DOCUMENTS: proto.message_class("Document"),
            proto.EXTERNAL_SYMBOLS: proto.message_class("SymbolInformation"),
        }

    def group(self, group: list[Frame]) -> DocumentGroup:
        """One group decoded and checked."""
        documents = [frame for frame in group if frame.field == proto.DOCUMENTS]
        external = [frame for frame in group if frame.field == proto.EXTERNAL_SYMBOLS]
        batch = self._decode(self._documents, documents)
        encoding = batch.column("position_encoding").to_numpy()
        self._check(documents, _is_empty(batch.column("relative_path")), "no path")
        self._check(documents, (encoding < 0) | (encoding > 3), "an unknown position encoding")
        occurrences = self._occurrences(batch.column("occurrences"), documents)
        rows, document = _items(batch.column("symbols"))
        self._check_rows(documents, document, _is_empty(rows.field("symbol")), "a description of no symbol")
        symbols = _symbols(rows, document)
        if external:
            rows = self._decode(self._symbols, external).to_struct_array()
            self._check(external, _is_empty(rows.field("symbol")), "no symbol")
            symbols = pa.concat_tables([symbols, _symbols(rows, np.full(len(rows), -1, np.int32))])
        return DocumentGroup(batch.column("relative_path").to_pylist(), encoding, occurrences, symbols)

    def _decode(self, handler: Any, group: list[Frame]) -> pa.RecordBatch:
        """The payloads as one record batch; which of them is damaged is only asked when one is."""
        for frame in group:
            if len(frame.payload) >= _DEEP:
                self._survey(frame)
        try:
            return handler.list_to_record_batch([frame.payload for frame in group])
        except Exception as error:
            for frame in group:
                self._survey(frame)
                try:
                    handler.list_to_record_batch([frame.payload])
                except Exception as cause:
                    raise self._wrong(frame, f"cannot be read ({cause})") from None
            raise self._wrong(group[0], f"cannot be read with those that follow ({error})") from None

    def _survey(self, frame: Frame) -> None:
        """Parse a payload once with the decoder that limits nesting."""
        try:
            self._checked[frame.field].FromString(frame.payload)
        except Exception as error:
            raise self._wrong(frame, f"cannot be read ({error})") from None

    def _wrong(self, frame: Frame, what: str) -> IndexFormatError:
        return _wrong(self._name, frame, what)

    def _check(self, group: list[Frame], wrong: NDArray[np.bool_], what: str) -> None:
        """Raise for the first of the group that is `wrong`."""
        if wrong.any():
            raise self._wrong(group[int(np.argmax(wrong))], f"has {what}")

    def _occurrences(self, column: pa.ListArray, documents: list[Frame]) -> pa.Table:
        rows, document = _items(column)
        ranges, sizes = _ranges(rows, "range", "single_line_range", "multi_line_range")
        self._check_rows(documents, document, (sizes != 3) & (sizes != 4), "a range of neither 3 nor 4 numbers")
        enclosing, sizes = _ranges(rows, "enclosing_range", "single_line_enclosing_range", "multi_line_enclosing_range")
        self._check_rows(documents, document, (sizes == 1) | (sizes == 2) | (sizes > 4), "a range of neither 3 nor 4 numbers")
        enclosed = sizes > 0
        negative = (ranges < 0).any(axis=0) | (enclosed & (enclosing < 0).any(axis=0))
        self._check_rows(documents, document, negative, "a range with a negative number")
        columns = {
            "document": document,
            **dict(zip(_RANGE_COLUMNS, ranges, strict=True)),
            "symbol": rows.field("symbol").dictionary_encode(),
            "roles": rows.field("symbol_roles"),
            **{
                f"enclosing_{name}": np.where(enclosed, values, -1)
                for name, values in zip(_RANGE_COLUMNS, enclosing, strict=True)
            },
        }
        table = pa.table(
            {name: pa.array(values) if isinstance(values, np.ndarray) else values for name, values in columns.items()}
        )
        nameless = _is_empty(rows.field("symbol"))
        return table.filter(~nameless) if nameless.any() else table

    def _check_rows(self, documents: list[Frame], document: NDArray[np.int32], wrong: NDArray[np.bool_], what: str) -> None:
        """Raise for the first document with a row that is `wrong`; `document` says in which one each row is."""
        if wrong.any():
            at = np.zeros(len(documents), dtype=bool)
            at[document[wrong]] = True
            self._check(documents, at, what)


def _is_empty(column: pa.StringArray) -> NDArray[np.bool_]:
    empty: NDArray[np.bool_] = pc.equal(column, "").to_numpy(zero_copy_only=False)
    return empty


def _items(column: pa.ListArray) -> tuple[pa.StructArray, NDArray[np.int32]]:
    """The rows of a list column, and for each the index of the list that it is in."""
    return column.flatten(), np.repeat(np.arange(len(column), dtype=np.int32), np.diff(column.offsets.to_numpy()))


def _ranges(rows: pa.StructArray, legacy: str, single: str, multi: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ranges of rows, int32 [4, n] (start line, start column, end line, end column), and how many numbers each had, int32 [n].

    Typed ranges win over the list of numbers. A row whose size is not 3 or 4 has zeros.
    """
    lists = rows.field(legacy)
    offsets = lists.offsets.to_numpy()
    sizes = np.diff(offsets).astype(np.int32, copy=False)
    ranges = np.zeros((4, len(rows)), np.int32)
    values = lists.values.to_numpy()
    long = sizes == 4
    fit = np.flatnonzero(long | (sizes == 3))
    if len(fit):
        at = offsets[:-1][fit]
        many = long[fit]
        ranges[0, fit] = values[at]
        ranges[1, fit] = values[at + 1]
        ranges[2, fit] = values[np.where(many, at + 2, at)]
        ranges[3, fit] = values[at + np.where(many, 3, 2)]
    for name, fields in (
        (single, ("line", "start_character", "line", "end_character")),
        (multi, ("start_line", "start_character", "end_line", "end_character")),
    ):
        typed = rows.field(name)
        if typed.null_count == len(typed):
            continue
        given = typed.is_valid().to_numpy(zero_copy_only=False)
        sizes = np.where(given, np.int32(4), sizes)
        for row, field in zip(ranges, fields, strict=True):
            np.copyto(row, typed.field(field).to_numpy(zero_copy_only=False), where=given)
    return ranges, sizes


def _symbols(rows: pa.StructArray, document: NDArray[np.int32]) -> pa.Table:
    """The table of symbols out of `SymbolInformation` rows."""
    symbol = rows.field("symbol")
    return pa.table(
        {
            "document": pa.array(document),
            "symbol": symbol,
            "display_name": rows.field("display_name"),
            "kind": _kinds(symbol, rows.field("kind")),
            "signature": pc.fill_null(pc.struct_field(rows, ["signature_documentation", "text"]), ""),
            "documentation": pc.binary_join(rows.field("documentation").cast(pa.list_(pa.string())), "\n\n"),
            "relationships": rows.field("relationships").cast(ScipSymbols.schema.field("relationships").type),
        }
    )


def _kinds(symbol: pa.StringArray, kind: pa.Int32Array) -> pa.StringArray:
    """Kinds as words; where the index says none, what the end of the symbol says."""
    words = pa.array(proto.KIND_WORDS)
    numbers = kind.to_numpy()
    said = pc.take(words, pa.array(np.where((numbers > 0) & (numbers < len(words)), numbers, 0)))
    unsaid = pc.equal(said, "")
    if not pc.any(unsaid).as_py():
        return said
    ends = [pc.ends_with(symbol, pattern=suffix) for suffix in _SUFFIX_KINDS]
    guessed = pc.case_when(pc.make_struct(*ends), *(pa.scalar(kind) for kind in _SUFFIX_KINDS.values()), pa.scalar("local"))
    return pc.if_else(unsaid, guessed, said)
