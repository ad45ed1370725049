"""The stage `lexical_index`: a Tantivy index over chunks, with the names that are defined in them.

Belongs here: from tables to an index directory whose bytes depend on the tables alone. Not here: the fields and the words
(`lexical`), searching.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tantivy

from pipeline import tables
from pipeline.config import Settings
from pipeline.embed import words
from pipeline.errors import CodeIntelError
from pipeline.files import canonical_json, digest_file
from pipeline.index import chunk_files, lexical
from pipeline.index.file_roles import roles_of
from pipeline.installed import version
from pipeline.schemas import Chunks, Definitions, LexicalIndex
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.kinds import CLASS_LIKE, FUNCTION_LIKE
from pipeline.workers import Runtime, run_jobs

_HEAP_BYTES = 1_000_000_000
"""A bound, not a reservation: a segment is written when it is reached, so that all but huge repositories have one segment."""
_CHEAPER_THAN_PARSING = 2
"""The threshold for worker processes is in bytes to parse; chunks are stored compressed, and cutting words costs less."""
CHUNK_COLUMNS = ("id", "content", "start_byte", *lexical.ROW_COLUMNS)
DEFINITION_COLUMNS = ("uri", "name", "qualified_name", "kind", "start_byte")
"""What is read of chunks and of definitions."""
_LOCK_FILES = (".tantivy-writer.lock", ".tantivy-meta.lock")
_META_FILE, _MANAGED_FILE = "meta.json", ".managed.json"


def lexical_index(
    chunks: Artefact[Chunks], definitions: Artefact[Definitions], runtime: Runtime, out: Output[LexicalIndex]
) -> Facts:
    """Index every chunk, in table order: words are cut by jobs, one thread writes."""
    chunk_parts = tables.parts(chunks.path, Chunks)
    definition_parts = tables.parts(definitions.path, Definitions)

    jobs = list(zip(chunk_parts, definition_parts, strict=True))
    work = sum(path.stat().st_size for path in chunk_parts)
    parts = run_jobs(_spelled, jobs, runtime, work_bytes=work // _CHEAPER_THAN_PARSING)
    count = write_index(out.path / LexicalIndex.DIRECTORY, (_document(row) for part in parts for row in part))
    _write_files(out.path / LexicalIndex.FILES, chunk_parts, definition_parts)
    meta = lexical.LexicalMeta(
        version=lexical.FORMAT,
        documents=count,
        fields=(*lexical.TEXT_FIELDS, lexical.DEFINES),
        tantivy=version("tantivy"),
        analyzer=lexical.ANALYZER_VERSION,
    )
    (out.path / LexicalIndex.META).write_bytes(canonical_json(meta))
    return {"documents": count}


def _write_files(path: Path, chunk_parts: Sequence[Path], definition_parts: Sequence[Path]) -> None:
    """Which file each chunk is of, and the files' roles."""
    parts = [tables.plain(tables.read_part(part, Chunks, ["id", "uri", "lang"])) for part in chunk_parts]
    table = pa.concat_tables(parts).combine_chunks()
    numbered = pc.dictionary_encode(table["uri"]).combine_chunks()
    uris, files = numbered.dictionary.to_pylist(), numbered.indices.to_numpy().astype(np.int64)
    languages = table["lang"].take(pa.array(np.unique(files, return_index=True)[1])).to_pylist()
    defined = pa.concat_tables(tables.read_part(part, Definitions, ["uri", "kind"]) for part in definition_parts)
    own = defined.filter(pc.is_in(defined["kind"], value_set=pa.array(sorted(CLASS_LIKE | FUNCTION_LIKE | {"type"}))))
    roles = roles_of(list(zip(uris, languages, strict=True)), set(own["uri"].unique().to_pylist()))
    chunk_files.write(path, uris, roles, table["id"].to_numpy(), files)


def write_index(folder: Path, documents: Iterable[tantivy.Document]) -> int:
    """A new index in `folder`; returns the number of documents. Equal documents in equal order give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with _writer(tantivy.Index(lexical.schema(), path=str(folder), reuse=False), folder) as writer:
        for document in documents:
            writer.add_document(document)
            count += 1
    _name_by_content(folder)
    return count


def replace_documents(folder: Path, rows: Sequence[_Row]) -> None:
    """Put rows in the place of those of the same ids, by a commit on top; only for a scratch copy, its bytes are random.

    `folder` may hold links to an index's files: none of them is written, new ones take their place.
    """
    with _writer(tantivy.Index.open(str(folder)), folder) as writer:
        for row in rows:
            writer.delete_documents_by_term(lexical.ID, row.identifier)
        for row in rows:
            writer.add_document(_document(row))


@contextlib.contextmanager
def _writer(index: tantivy.Index, folder: Path) -> Iterator[Any]:
    """One writer thread over the index in `folder`, committed when the block ends well; no lock file is left then."""
    index.register_tokenizer(lexical.ANALYZER, lexical.analyzer())
    with _disk_errors():
        writer = index.writer(_HEAP_BYTES, num_threads=1)
        yield writer
        writer.commit()
        writer.wait_merging_threads()
    for name in _LOCK_FILES:
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Tantivy reports what the system says as the text of a ValueError."""
    try:
        yield
    except ValueError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def _uses(settings: Settings) -> Mapping[str, str]:
    return {"tantivy": version("tantivy"), "analyzer": lexical.ANALYZER_VERSION}


STAGE = Stage(lexical_index, code_version="5", uses=_uses)


@dataclass(frozen=True, slots=True)
class _Row:
    """What the index is given of a chunk: an id, the terms of each text field joined by spaces, names, and what is stored."""

    identifier: int
    body: str
    names: str
    path: str
    file_name: str
    defines: tuple[str, ...]
    stored: bytes


@functools.lru_cache(maxsize=1 << 18)
def _spelled_run(run: str) -> str:
    return " ".join(words.terms(run))


def _spell(text: str) -> str:
    """All terms of a text, joined by spaces; each distinct run is cut once."""
    return " ".join(map(_spelled_run, words.runs(text)))


def _spelled(job: tuple[Path, Path]) -> list[_Row]:
    """The rows of one part of chunks and of definitions."""
    chunk_part, definition_part = job
    table = tables.read_part(chunk_part, Chunks, list(CHUNK_COLUMNS))
    return rows_of(table, tables.read_part(definition_part, Definitions, list(DEFINITION_COLUMNS)))


def rows_of(table: pa.Table, definitions: pa.Table) -> list[_Row]:
    """What the index is given of chunks, sorted by (uri, start_byte), that cover their files; and the definitions of these."""
    defined = _definitions_of(table, definitions)
    columns = [table[name].to_pylist() for name in lexical.ROW_COLUMNS]
    encode = msgspec.json.Encoder().encode
    contents = table["content"].to_pylist()
    return [
        _Row(
            identifier,
            body=_spell(content),
            names=_spell(" ".join(name for name, _, _ in names)),
            path=_spell(row[0]),
            file_name=_spell(row[0].rpartition("/")[2]),
            defines=_terms_of(names),
            stored=encode(row),
        )
        for identifier, content, names, row in zip(
            table["id"].to_pylist(), contents, defined, zip(*columns, strict=True), strict=True
        )
    ]


def _terms_of(names: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    """What (name, qualified name, kind) are found by. A section of a document is about its title, and defines no such thing."""
    terms = (lexical.defined_terms(name, qualified) for name, qualified, kind in names if kind != "section")
    return tuple(dict.fromkeys(term for found in terms for term in found))


def _document(row: _Row) -> tantivy.Document:
    document = tantivy.Document()
    document.add_integer(lexical.ID, row.identifier)
    for field in lexical.TEXT_FIELDS:
        document.add_text(field, getattr(row, field))
    for name in row.defines:
        document.add_text(lexical.DEFINES, name)
    document.add_bytes(lexical.ROW, row.stored)
    return document


def _definitions_of(chunks: pa.Table, definitions: pa.Table) -> Sequence[list[tuple[str, str, str]]]:
    """For each chunk the name, qualified name and kind of each definition that starts in it."""
    uris = pa.chunked_array([*chunks["uri"].chunks, *definitions["uri"].chunks], pa.string())
    codes = pc.rank(uris, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    chunk_keys = (codes[: len(chunks)] << 32) + chunks["start_byte"].to_numpy()
    definition_keys = (codes[len(chunks) :] << 32) + definitions["start_byte"].to_numpy()
    # Chunks cover their file and are sorted by (uri, start_byte): the last one that starts before a definition holds it.
    owners = np.searchsorted(chunk_keys, definition_keys, side="right") - 1
    owned = (owners >= 0) & (chunk_keys[owners] >> 32 == definition_keys >> 32) if len(chunks) else np.zeros(len(owners), bool)
    found: list[list[tuple[str, str, str]]] = [[] for _ in range(len(chunks))]
    kept = definitions.filter(pa.array(owned))
    names = zip(*(kept[column].to_pylist() for column in ("name", "qualified_name", "kind")), strict=True)
    for owner, name in zip(owners[owned].tolist(), names, strict=True):
        found[owner].append(name)
    return found


def _name_by_content(folder: Path) -> None:
    """Name segments after their bytes instead of at random, as Tantivy does, so that equal indexes are equal files."""
    meta = json.loads((folder / _META_FILE).read_bytes())
    for ordinal, segment in enumerate(meta["segments"]):
        drawn = UUID(segment["segment_id"])
        files = sorted(folder.glob(f"{drawn.hex}.*"))
        recipe = [str(ordinal), *(f"{path.suffix} {digest_file(path)}" for path in files)]
        named = UUID(bytes=blake2b("\n".join(recipe).encode(), digest_size=16).digest())
        segment["segment_id"] = str(named)
        for path in files:
            path.rename(folder / f"{named.hex}{path.suffix}")
    stray = [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != _MANAGED_FILE]
    if stray:
        raise CodeIntelError(f"Tantivy left the unexpected file {stray[0]} in its index.")
    managed = sorted(path.name for path in folder.iterdir() if path.name != _MANAGED_FILE)
    (folder / _META_FILE).write_bytes(canonical_json(meta))
    (folder / _MANAGED_FILE).write_bytes(canonical_json(managed))
