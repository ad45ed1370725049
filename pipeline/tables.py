"""Parquet tables in parts: how a table is cut, written and read.

A table is a directory of N parts by a hash of the uri, N = 2^ceil(log2(files / 128)) between 1 and 256, so that the parts
that a change does not touch can be linked instead of rewritten. Equal rows give equal bytes.

Belongs here: reading and writing of any table. Not here: what the columns mean (`schemas`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.schemas import Table

FILES_PER_PART = 128
MAX_PARTS = 256
_TAG, _FACTS = b"codeintel.kind", b"codeintel.facts"


def part_count(files: int) -> int:
    """How many parts the tables of a snapshot with that many files have."""
    parts = 1
    while parts * FILES_PER_PART < files and parts < MAX_PARTS:
        parts *= 2
    return parts


def place_of(uri: str) -> int:
    """Where rows of `uri` belong, from 0 to 255, whatever the number of parts."""
    return hashlib.blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=8).digest()[0]


def part_of(uri: str, parts: int) -> int:
    """The part that rows of `uri` are in."""
    # The number of parts divides that of places.
    return place_of(uri) % parts


def part_path(folder: Path, part: int) -> Path:
    """The file of one part."""
    return folder / part_name(part)


def part_name(part: int) -> str:
    """The name of that file."""
    return f"part-{part:03d}.parquet"


def write_part(
    folder: Path,
    kind: type[Table],
    part: int,
    table: pa.Table,
    schema: pa.Schema | None = None,
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Write the rows of one part; returns how many. The table is cast to the kind's schema (or `schema`), which must fit.

    `facts` are JSON values that the part says of itself (`part_facts`), so that whoever links it need not read it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(part_path(folder, part), kind, table, schema, facts)


def write_whole(
    path: Path, kind: type[Table], table: pa.Table, schema: pa.Schema | None = None, facts: Mapping[str, Any] | None = None
) -> int:
    """Write rows of a table as one file, cast to the kind's schema (or `schema`); returns how many."""
    schema = schema or kind.schema
    return write_parquet(path, table.select(schema.names).cast(schema), tag_of(kind), facts)


def part_facts(path: Path) -> dict[str, Any]:
    """What a part says of itself, by its footer alone. Raises `IndexCorruptionError` where that cannot be read."""
    try:
        told = (pq.read_metadata(path).metadata or {}).get(_FACTS, b"{}")
        return msgspec.json.decode(told, type=dict[str, Any])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IndexCorruptionError(
            f"{path} cannot be read: {type(error).__name__}.", hint="Run `indexctl verify`, then `indexctl build`."
        ) from error


def tag_of(kind: type[Table]) -> str:
    """What the files of a table say that they hold."""
    return f"{kind.tag()}/{kind.name}"


def write_parquet(path: Path, table: pa.Table, tag: str, facts: Mapping[str, Any] | None = None) -> int:
    """One Parquet file, deterministic: fixed compression, fixed row groups, its kind (and `facts`) in the metadata."""
    told = {} if facts is None else {_FACTS: msgspec.json.encode(facts, order="sorted")}
    table = _canonical(table).replace_schema_metadata({_TAG: tag.encode(), **told})
    # Dictionary pages pay only where values repeat; ids, hashes and contents do not.
    words = [field.name for field in table.schema if pa.types.is_dictionary(field.type) or field.name == "uri"]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=1,
        row_group_size=1 << 17,
        use_dictionary=words,
        write_statistics=True,
    )
    return int(table.num_rows)


def _canonical(table: pa.Table) -> pa.Table:
    """The same rows in one chunk, dictionaries in the order of first use: Parquet keeps both, wherever the rows came from."""
    table = table.combine_chunks()
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type) and table.num_rows:
            pieces = [_by_first_use(piece).cast(field.type) for piece in table.column(place).chunks]
            table = table.set_column(place, field, pa.chunked_array(pieces, field.type))
    return table


def _by_first_use(array: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same values, each word once, the words in the order in which they come. Only numbers are compared, not all words."""
    words = array.dictionary.dictionary_encode()
    codes = words.indices.take(array.indices).dictionary_encode()
    return pa.DictionaryArray.from_arrays(codes.indices, words.dictionary.take(codes.dictionary))


def parts(root: Path, kind: type[Table]) -> list[Path]:
    """The part files of a table under an object or a version, in order. Raises `IndexCorruptionError` when there is none."""
    try:
        # What lists a folder makes paths several times faster than they are made of text.
        found = [path for path in (root / kind.name).iterdir() if _is_part(path.name)]
    except OSError:
        found = []
    if not found:
        raise _missing(root, kind)
    return sorted(found, key=attrgetter("name"))


def parts_in(root: Path, kind: type[Table]) -> int:
    """How many parts a table has. Raises what `parts` does."""
    try:
        count = sum(map(_is_part, os.listdir(f"{root}/{kind.name}")))  # noqa: PTH208 - hot
    except OSError:
        count = 0
    if not count:
        raise _missing(root, kind)
    return count


def _is_part(name: str) -> bool:
    return name.startswith("part-") and name.endswith(".parquet")


def _missing(root: Path, kind: type[Table]) -> IndexCorruptionError:
    return IndexCorruptionError(f"The table `{kind.name}` is missing in {root}.", hint="Run `indexctl build` again.")


Rooted = tuple[Path, type[Table]]
"""The folder that a table lies in, and which it is."""


def parts_together(first: Rooted, second: Rooted, third: Rooted) -> tuple[list[Path], list[Path], list[Path]]:
    """The parts of three tables of one snapshot, which are cut alike. Raises `IndexCorruptionError` when they are not."""
    found = (parts(*first), parts(*second), parts(*third))
    if len({len(paths) for paths in found}) != 1:
        names = ", ".join(kind.name for _, kind in (first, second, third))
        raise IndexCorruptionError(
            f"The tables {names} are cut into different numbers of parts.", hint="Run `indexctl build` again."
        )
    return found


def read_part(path: Path, kind: type[Table], columns: Sequence[str] | None = None) -> pa.Table:
    """One part. Raises what `read_file` does."""
    return read_file(path, tag_of(kind), columns)


def read_file(path: Path, expected: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file that says it holds what is expected. Raises `IndexCorruptionError` when it cannot be read,
    `IndexFormatError` when it is of another kind."""
    try:
        # Our own reader object: `pq.read_table` would put a dataset around a single file.
        with pq.ParquetFile(path, memory_map=False) as file:
            tag = (file.schema_arrow.metadata or {}).get(_TAG, b"").decode("utf-8", "replace")
            if tag != expected:
                raise IndexFormatError(f"{path} holds `{tag or 'no kind'}`, not `{expected}`.", hint="Rebuild the index.")
            return file.read(columns=list(columns) if columns is not None else None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IndexCorruptionError(
            f"{path} cannot be read: {type(error).__name__}.", hint="Run `indexctl verify`, then `indexctl build`."
        ) from error


def read_parts(root: Path, kind: type[Table], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The parts of a table, one after the other."""
    for path in parts(root, kind):
        yield read_part(path, kind, columns)


def read_table(root: Path, kind: type[Table], columns: Sequence[str] | None = None) -> pa.Table:
    """A whole table, in the order of its parts."""
    return pa.concat_tables([plain(table) for table in read_parts(root, kind, columns)])


def names_in(root: Path) -> frozenset[str]:
    """What lies in the folder of an object or of a version.

    Raises `IndexCorruptionError` where it cannot be listed: what is gone, be it for a moment, must not look as if it had been
    made without some table, and be kept open like that.
    """
    try:
        return frozenset(os.listdir(root))  # noqa: PTH208 - names alone
    except OSError as error:
        raise IndexCorruptionError(
            f"{root} cannot be read: {error.strerror}.", hint="Ask again; if that fails too, run `indexctl verify`."
        ) from error


def has_table(root: Path, kind: type[Table]) -> bool:
    """Whether an object or a version has the table. Raises what `names_in` does."""
    return kind.name in names_in(root) and any(map(_is_part, names_in(root / kind.name)))


def read_columns(root: Path, kind: type[Table], columns: Sequence[str]) -> pa.Table:
    """Columns of a whole table as they are stored: each chunk of a dictionary column has a dictionary of its own."""
    return pa.concat_tables(list(read_parts(root, kind, columns)))


def plain(table: pa.Table) -> pa.Table:
    """The same table with dictionary columns decoded, so that parts with different dictionaries can be joined."""
    fields = [
        pa.field(field.name, field.type.value_type, field.nullable) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def stored_bytes(paths: Iterable[Path]) -> int:
    """Bytes of Parquet files before compression, by the footers alone."""
    footers = [pq.read_metadata(path) for path in paths]
    return sum(footer.row_group(group).total_byte_size for footer in footers for group in range(footer.num_row_groups))


def count_rows(paths: Iterable[Path]) -> int:
    """Rows by the footers alone."""
    return sum(pq.read_metadata(path).num_rows for path in paths)
