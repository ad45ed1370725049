"""A small version directory with every table, written as the stages write it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.catalog.symbol_table import SymbolTable, read_symbols
from pipeline.catalog.traces import readable
from pipeline.catalog.views import connect
from pipeline.chunks.symbols_stage import symbols
from pipeline.files import write_json
from pipeline.schemas import (
    AstNodes,
    Chunks,
    CstNodes,
    Definitions,
    Embeddings,
    FaissIdmap,
    Files,
    HybridContrib,
    HybridTopk,
    Modules,
    ScipOccurrences,
    ScipSymbols,
    Sources,
    Table,
    TracePool,
    TraceQueries,
    TraceTable,
)
from pipeline.stage import Artefact, Output
from pipeline.store import traces
from pipeline.workers import Runtime
from tests.catalog.coverage_rows import write_coverage

D = 4
PARTS = 2
FILES = {"src/a.py": "python", "src/deep/b.py": "python", "web/c.js": "javascript", "it's [odd]\n.txt": "text"}
CHUNKS_A_FILE = 3


def chunk_id(uri: str, ordinal: int) -> int:
    """The id of a file's chunk: neither ascending by file nor small."""
    return (list(FILES).index(uri) * 7919 + ordinal * 104729 + 1) << 40


def _split(folder: Path, kind: type[Table], rows: list[dict[str, object]], schema: pa.Schema | None = None) -> None:
    schema = schema or kind.schema
    for part in range(PARTS):
        mine = [row for row in rows if tables.part_of(str(row["uri"]), PARTS) == part]
        names = schema.names
        table = pa.table(
            {name: pa.array([row[name] for row in mine], schema.field(name).type) for name in names}, schema=schema
        )
        tables.write_part(folder / kind.name, kind, part, table, schema)


def _chunk(uri: str, lang: str, ordinal: int) -> dict[str, object]:
    return {
        "id": chunk_id(uri, ordinal),
        "uri": uri,
        "lang": lang,
        "kind": ("module", "class", "function")[ordinal],
        "name": f"n{ordinal}",
        "start_line": ordinal * 10 + 1,
        "end_line": ordinal * 10 + 10,
        "start_byte": ordinal * 100,
        "end_byte": ordinal * 100 + 100,
        "preview": f"{uri} {ordinal}",
        "content": "x" * 100,
        "content_hash": (1 << 64) - 1 - ordinal,
    }


def write_version(folder: Path, *, without: tuple[str, ...] = (), unmapped: int = 0) -> Path:
    """A version directory. `without` names tables to leave out; the first `unmapped` ids are not in the idmap."""
    folder.mkdir(parents=True)
    files = [
        {"uri": uri, "lang": lang, "size": 300, "content_hash": b"h" * 32, "status": "indexed", "reason": None}
        for uri, lang in FILES.items()
    ]
    chunks = [_chunk(uri, lang, ordinal) for uri, lang in FILES.items() for ordinal in range(CHUNKS_A_FILE)]
    nodes = [
        {"uri": uri, "node_id": node, "parent_id": -1 if node == 0 else 0, "type": kind, "field": None}
        | {"start_byte": start, "end_byte": end, "depth": min(node, 1), "named": True}
        for uri in FILES
        for node, (kind, start, end) in enumerate(
            (("module", 0, 300), ("class", 50, 250), ("name", 100, 120), ("empty", 200, 200))
        )
    ]
    definitions = [
        {"uri": uri, "name": name, "qualified_name": name, "kind": "class", "signature": "", "doc": "", "start_byte": start}
        | {"end_byte": end, "start_line": 1, "end_line": 2, "name_start_byte": start, "node_id": 1, "parent": None}
        for uri in FILES
        for name, start, end in (("Wide", 50, 250), ("Inner", 110, 120))
    ]
    sources = [{"uri": uri, "lang": lang, "content": b"\xffx" * 150} for uri, lang in FILES.items()]
    ids = sorted(int(str(row["id"])) for row in chunks)
    vectors = {one: [float(row == place) for place in range(D)] for row, one in zip(np.arange(len(ids)) % D, ids, strict=True)}
    embeddings = [{"id": row["id"], "embedding": vectors[int(str(row["id"]))], "uri": row["uri"]} for row in chunks]
    for kind, rows in ((Files, files), (Sources, sources), (AstNodes, nodes), (Definitions, definitions), (Chunks, chunks)):
        if kind.name not in without:
            _split(folder, kind, rows)
    if Embeddings.name not in without:
        _split(folder, Embeddings, embeddings, Embeddings.schema_of(D))
    if FaissIdmap.asset not in without:
        mapped = ids[unmapped:]
        idmap = pa.table({"faiss_row": range(len(mapped)), "external_id": mapped, "source": ["primary"] * len(mapped)})
        tables.write_parquet(folder / FaissIdmap.FILE, idmap.cast(FaissIdmap.schema), FaissIdmap.tag())
    return folder


def symbol(uri: str, path: str) -> str:
    """The symbol of something in a file of `FILES`."""
    return f"tool python . . {uri.rpartition('.')[0]}/{path}"


def _occurrence(
    uri: str, symbol: str, start: int, end: int, roles: int = 8, span: tuple[int, int] | None = None
) -> dict[str, object]:
    enclosing = span or (None, None)
    return {"uri": uri, "symbol": symbol, "roles": roles, "is_definition": bool(roles & 1), "start_byte": start,
            "end_byte": end, "start_line": start // 10 + 1, "end_line": start // 10 + 1, "enclosing_start_byte": enclosing[0],
            "enclosing_end_byte": enclosing[1], "provenance": "scip", "indexer": "tool"}  # fmt: skip


def _symbol(uri: str, symbol: str, name: str, kind: str, base: str = "") -> dict[str, object]:
    related = {
        "symbol": base,
        "is_reference": False,
        "is_implementation": True,
        "is_type_definition": False,
        "is_definition": False,
    }
    return {"uri": uri, "symbol": symbol, "display_name": name, "kind": kind, "signature": f"def {name}", "documentation": "",
            "relationships": [related] if base else [], "provenance": "scip"}  # fmt: skip


PYTHON = ("src/a.py", "src/deep/b.py")
METHOD, BASE = symbol("src/a.py", "Wide#inner()."), symbol("src/a.py", "Wide#")


def write_symbols(folder: Path) -> Path:
    """Add the tables of symbols, concrete syntax and modules to a version directory.

    Each Python file defines a class with a method; the method of the second file calls that of the first, twice, and its class
    implements the first file's.
    """
    occurrences, known = [], []
    for uri in PYTHON:
        wide, inner = symbol(uri, "Wide#"), symbol(uri, "Wide#inner().")
        calls = [_occurrence(uri, METHOD, at, at + 5) for at in (130, 210)] if uri != PYTHON[0] else []
        occurrences += [
            _occurrence(uri, symbol(uri, ""), 0, 0, 1, (0, 300)),
            _occurrence(uri, symbol("lib/os.py", ""), 10, 12, 2),
            _occurrence(uri, "local 0", 20, 21, 1),
            _occurrence(uri, wide, 50, 54, 1, (50, 250)),
            _occurrence(uri, inner, 110, 115, 1, (105, 240)),
            _occurrence(uri, inner + "(Wide)", 117, 120, 1),
            *calls,
        ]
        known += [
            _symbol(uri, wide, "Wide", "class", BASE if uri != PYTHON[0] else ""),
            _symbol(uri, inner, "inner", "method"),
            _symbol(uri, inner + "(Wide)", "Wide", "parameter"),
            _symbol(uri, "local 0", "Wide", "variable"),
        ]
    # A file that a second one describes as well.
    known.append(_symbol(PYTHON[1], METHOD, "inner", "method"))
    known.append(_symbol(PYTHON[0], symbol("lib/os.py", ""), "os", "module"))
    nodes = [
        {"uri": uri, "node_id": node, "parent_id": node - 1, "kind": kind, "role": None, "start_byte": start, "end_byte": end,
         "text_hash": node, "qualified_name": None}
        for uri in PYTHON
        for node, (kind, start, end) in enumerate(
            (("Module", 0, 300), ("Call", 100, 120), ("Name", 110, 112), ("Call", 120, 130))
        )
    ]  # fmt: skip
    modules = [
        {"uri": uri, "lang": "python", "lines": 30, "defs": 2, "imports": ["os"], "exports": [], "doc": "Text.",
         "tags": ["test"], "churn": 3, "authors": 1, "complexity": 7, "hotspot_score": 0.5 + place}
        for place, uri in enumerate(PYTHON)
    ]  # fmt: skip
    for kind, rows in ((ScipOccurrences, occurrences), (ScipSymbols, known), (CstNodes, nodes), (Modules, modules)):
        _split(folder, kind, rows)
    inputs = [Artefact("r", kind.asset, "k", folder, kind.tag(), "d", {}) for kind in (Chunks, ScipOccurrences, ScipSymbols)]
    symbols(*inputs, Runtime(), Output(folder), Output(folder))
    rejected = [{"uri": "src/deep/b.py", "reason": "syntax error at line 1"}]
    write_json(folder / CstNodes.REJECTED, {"version": 1, "rejected": rejected})
    return folder


NOON = dt.datetime(2026, 11, 21, 12)


def write_traces(folder: Path, run: str = "r") -> Path:
    """A set of traces: of three searches the first found a chunk by words and one by vectors alone, which the adjustments put
    first; the second found nothing; in the third the dense channel was broken. Returns the set."""
    first, second = chunk_id("src/a.py", 0), chunk_id("src/a.py", 1)
    query, when = f"{run}-1", {"ts": NOON}
    said = {"state": "answered", "found": 1, "reason": "", "seconds": 0.001}
    broken = {"channel": "dense", "state": "broken", "found": 0, "reason": "gone", "seconds": 0.5}
    queries = [
        {"query_id": f"{run}-{number}", "run_id": run, "version": "v-2", "query": text, "kind": "phrase", "k": 10,
         "filters": ["lang=python"], "results": results, "channels": channels, "seconds": 0.01 * number, **when}
        for number, (text, results, channels) in enumerate((
            ("ship papers", 2, [{"channel": "lexical", **said}, {"channel": "dense", **said}]),
            ("nothing of it", 0, [{"channel": "lexical", **said}]),
            ("berth", 0, [broken]),
        ), 1)
    ]  # fmt: skip
    found = [("lexical", first, 1, 1.0), ("dense", first, None, 0.1), ("dense", second, 1, 0.5)]
    fused = {first: 1.1, second: 0.5}
    explained = {"explain_symbols": ["Wide"], "explain_ast_kinds": ["class"], "explain_cst_hits": None}
    rows: dict[type[TraceTable], list[dict[str, object]]] = {
        TraceQueries: queries,
        TracePool: [
            {"run_id": run, "query_id": query, "channel": channel, "method": "scores", "rank": rank, "chunk_id": chunk,
             "score": worth, "fused_score": fused[chunk], **explained, **when}
            for channel, chunk, rank, worth in found if rank
        ],
        HybridContrib: [
            {"query_id": query, "channel": channel, "rank_in_channel": rank, "doc_id": chunk, "raw_score": worth, "weight": 1.0,
             "k_rrf": None, "contribution": worth, "fused_score": fused[chunk], **when}
            for channel, chunk, rank, worth in found
        ],
        HybridTopk: [
            {"query_id": query, "rank": rank, "doc_id": chunk, "fused_score": fused[chunk], "score": 2.0 - rank, **when}
            for rank, chunk in enumerate((second, first), 1)
        ],
    }  # fmt: skip
    with traces.new_set(folder) as made:
        for kind, values in rows.items():
            tables.write_whole(made / kind.file_name(), kind, pa.Table.from_pylist(values, schema=kind.schema))
    return traces.sets(folder)[-1]


@pytest.fixture
def add_traces() -> Callable[..., Path]:
    """`write_traces`."""
    return write_traces


@pytest.fixture(scope="session")
def symbol_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with all tables that tests only read."""
    return write_coverage(write_symbols(write_version(tmp_path_factory.mktemp("store") / "versions" / "v-2", unmapped=2)))


@pytest.fixture
def symbol_connection(symbol_version: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection over it, and over traces."""
    write_traces(tmp_path / "trace")
    with connect(symbol_version, traces=readable(tmp_path / "trace")) as opened:
        yield opened


@pytest.fixture(scope="session")
def symbol_table(symbol_version: Path) -> SymbolTable:
    """Its symbols in memory."""
    return read_symbols(symbol_version)


@pytest.fixture
def add_symbols() -> Callable[[Path], Path]:
    """`write_symbols`, for tests that need a version of their own."""
    return write_symbols


@pytest.fixture
def symbol_of() -> Callable[[str, str], str]:
    """(uri, path) -> the symbol of something."""
    return symbol


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that tests only read."""
    return write_version(tmp_path_factory.mktemp("store") / "versions" / "v-1", unmapped=2)


@pytest.fixture
def connection(version: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection over it."""
    with connect(version) as opened:
        yield opened


@pytest.fixture
def make_version() -> Callable[..., Path]:
    """`write_version`, for tests that need one of their own."""
    return write_version


@pytest.fixture
def id_of() -> Callable[[str, int], int]:
    """(uri, ordinal) -> the id of a chunk."""
    return chunk_id
