"""The stages of symbols: `scip_index` runs or takes indexes, `scip_tables` makes their occurrences and symbols tables.

Belongs here: which languages are indexed by what, and putting columns into parts. Not here: running a program
(`scip_indexers`), positions (`scip_precise`), the fallback (`scip_syntax`).
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from pipeline import tables
from pipeline.config import ScipSettings, Settings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.files import canonical_json, digest_file
from pipeline.schemas import AstNodes, Definitions, ScipIndex, ScipOccurrences, ScipSymbols, Snapshot, Sources, Table
from pipeline.source.text import line_of, line_starts
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure import scip_indexers, scip_precise, scip_reader, scip_syntax
from pipeline.structure.scip_indexers import Program, Ran
from pipeline.workers import Runtime


def _rows(kind: type[Table]) -> pa.Schema:
    """A table's columns while it is put together: without dictionaries and restrictions."""
    return pa.schema([pa.field(field.name, field.type) for field in tables.plain(kind.schema.empty_table()).schema])


SYNTAX_INDEXER = "tree-sitter"
_UNDESCRIBED = "the indexer says nothing of it"
_DAMAGED = "what the indexer wrote is damaged"
_CAPPED = f"it has more than {scip_syntax.MAX_REFERENCES} references"
_OCCURRENCES = _rows(ScipOccurrences)
_SYMBOLS = _rows(ScipSymbols).append(pa.field("uri", pa.string()))
"""Symbols, and the file that describes each (null: external)."""
_LANGUAGE = re.compile(r"[a-z][a-z0-9-]{0,31}")


def scip_index(source: Artefact[Snapshot], settings: ScipSettings, runtime: Runtime, out: Output[ScipIndex]) -> Facts:
    """Run the indexers that there are, or take what was built elsewhere.

    A failed indexer is recorded in `scip.json` and is no error. Raises ConfigError and IndexFormatError for a supplied index
    that cannot be read. Facts: `indexers` (language -> status), `files_indexed`, `left_out` (files).
    """
    folder = out.path / ScipIndex.DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    supplied = _supplied(settings) if settings.scip != "off" else {}
    sources = {} if settings.scip == "off" else _sources(source.path)
    for language, path in supplied.items():
        entries.append(_take(language, path, folder / f"{language}.scip"))
    python = {uri: content for uri, (lang, content) in sources.items() if lang == "python"}
    typescript = {uri: data for uri, (lang, data) in sources.items() if scip_indexers.is_typescript_input(uri, lang)}
    runs: list[tuple[str, dict[str, bytes], Program | None, Callable[[Program, Mapping[str, bytes], Path, float], Ran]]] = []
    if python and "python" not in supplied:
        runs.append(("python", python, scip_indexers.python_program(settings), scip_indexers.index_python))
    if "typescript" not in supplied and any(sources[uri][0] in scip_indexers.TYPESCRIPT for uri in typescript):
        program = scip_indexers.typescript_program(settings)
        runs.append(("typescript", typescript, program, scip_indexers.index_typescript))
    for language, files, program, run in runs:
        target = folder / f"{language}.scip"
        if program is None:
            entries.append(_entry(language, "", "", "absent", problem="the indexer is not installed"))
            continue
        ran = run(program, files, target, float(settings.scip_timeout))
        wanted = [uri for uri in files if sources[uri][0] in (language, *scip_indexers.TYPESCRIPT)]
        entries.append(_ran(language, program, ran, target, wanted))
    if settings.scip == "off":
        entries.append(_entry("", "", "", "off"))
    entries.sort(key=lambda entry: str(entry["language"]))
    (folder / ScipIndex.META).write_bytes(canonical_json({"version": 1, "indexers": entries}))
    return {
        "indexers": {entry["language"] or "all": entry["status"] for entry in entries},
        "files_indexed": sum(entry["files_indexed"] for entry in entries),
        "left_out": sum(len(entry["left_out"]) for entry in entries),
    }


def _entry(language: str, tool: str, version: str, status: str, files: int = 0, problem: str = "") -> dict[str, Any]:
    return {
        "language": language,
        "tool": tool,
        "tool_version": version,
        "status": status,
        "files_indexed": files,
        "left_out": [],
        "problem": problem,
    }


def _ran(language: str, program: Program, ran: Ran, target: Path, wanted: Iterable[str]) -> dict[str, Any]:
    """The entry of an indexer that was run; an index that cannot be read is a failure like any other."""
    described: set[str] = set()
    problem = ran.problem
    if not problem:
        try:
            described = scip_indexers.settle(target)
        except IndexFormatError:
            problem = "what it wrote is no SCIP index"
            target.unlink(missing_ok=True)
    status = "failed" if problem else "indexed"
    left_out = {item.uri: item.reason for item in ran.left_out}
    if not problem:
        left_out |= {uri: _UNDESCRIBED for uri in wanted if uri not in described and uri not in left_out}
    entry = _entry(language, program.tool, program.version, status, len(described), problem)
    return entry | {"left_out": [{"uri": uri, "reason": left_out[uri]} for uri in sorted(left_out)]}


def _take(language: str, path: Path, target: Path) -> dict[str, Any]:
    """The entry of an index that was built elsewhere."""
    told = scip_reader.read_metadata(path)
    shutil.copyfile(path, target)
    files = sum(len(group.paths) for group in scip_reader.read_occurrences(target, language=language))
    return _entry(language, told.tool_name, told.tool_version, "supplied", files)


def _supplied(settings: ScipSettings) -> dict[str, Path]:
    """Language -> index built elsewhere. Raises ConfigError for what is not `LANGUAGE=PATH` or does not exist."""
    found: dict[str, Path] = {}
    for item in settings.scip_files:
        language, _, path = item.partition("=")
        if not _LANGUAGE.fullmatch(language) or not path or language in found:
            raise ConfigError(f"`scip_files` has `{item}`.", hint="Write `LANGUAGE=PATH`, each language once.")
        found[language] = Path(path).expanduser()
        if not found[language].is_file():
            raise ConfigError(f"The SCIP index {path} of `scip_files` does not exist.", hint="Give the path of a file.")
    return dict(sorted(found.items()))


def _sources(root: Path) -> dict[str, tuple[str, bytes]]:
    """Uri -> language and bytes of every indexed file, by uri."""
    found: dict[str, tuple[str, bytes]] = {}
    for part in tables.read_parts(root, Sources):
        langs = part["lang"].cast(pa.string()).to_pylist()
        found.update(zip(part["uri"].to_pylist(), zip(langs, part["content"].to_pylist(), strict=True), strict=True))
    return dict(sorted(found.items()))


def _uses(settings: Settings) -> Mapping[str, str]:
    if settings.scip.scip == "off":
        return {}
    supplied = {f"{language}.scip": digest_file(path) for language, path in _supplied(settings.scip).items()}
    programs = {
        "python": scip_indexers.python_program(settings.scip),
        "typescript": scip_indexers.typescript_program(settings.scip),
    }
    named = {language: f"{program.tool} {program.version}" if program else "absent" for language, program in programs.items()}
    return supplied | named


INDEX_STAGE = Stage(scip_index, code_version="1", uses=_uses)


def scip_tables(
    index: Artefact[ScipIndex],
    source: Artefact[Snapshot],
    ast_nodes: Artefact[AstNodes],
    definitions: Artefact[Definitions],
    runtime: Runtime,
    scip_occurrences: Output[ScipOccurrences],
    scip_symbols: Output[ScipSymbols],
) -> Facts:
    """Write what the indexes say of each file, and of files that none describes what their syntax says.

    Facts: `occurrences`, `symbols`, `by_provenance` (occurrences), `precise_files`, `syntax_files`, and `left_out` (reason ->
    files whose document was not taken or whose references were cut). Raises IndexFormatError for a damaged index.
    """
    sources = _sources(source.path)
    precise = _precise(index.path, sources)
    parts = len(tables.parts(source.path, Sources))
    occurrences_by_part = _split(precise.occurrences, parts)
    symbols, names = _defined(definitions.path, sources, precise, occurrences_by_part)
    left_out = dict(precise.left_out)
    counted: Counter[str] = Counter()
    files: Counter[str] = Counter()
    described = [
        table.append_column("provenance", pa.array(["scip"] * table.num_rows, pa.string()))
        .select(_SYMBOLS.names)
        .cast(_SYMBOLS)
        for table in precise.symbols
    ]
    for part in range(parts):
        syntax, information = _syntax_part(part, ast_nodes.path, definitions.path, sources, precise, symbols, names, left_out)
        exact = _with_indexers(occurrences_by_part[part], precise)
        table = pa.concat_tables([exact, syntax])
        table = table.sort_by([(name, "ascending") for name in (*ScipOccurrences.order, "roles")])
        tables.write_part(scip_occurrences.path / ScipOccurrences.name, ScipOccurrences, part, table)
        described.append(information)
        counted.update({"scip": exact.num_rows, "syntax": syntax.num_rows})
        files["syntax"] += len(set(syntax["uri"].to_pylist()))
        runtime.progress(part + 1, parts)
    total = _write_symbols(described, parts, scip_symbols.path / ScipSymbols.name)
    return {
        "occurrences": counted.total(),
        "by_provenance": dict(sorted(counted.items())),
        "precise_files": len(precise.indexers),
        "syntax_files": files["syntax"],
        "symbols": total,
        "left_out": scip_precise.reasons(left_out),
    }


TABLES_STAGE = Stage(scip_tables, code_version="1")


def _precise(root: Path, sources: Mapping[str, tuple[str, bytes]]) -> scip_precise.Precise:
    """All that the indexes of an object say about files of the snapshot."""
    precise = scip_precise.Precise()
    entries = msgspec.json.decode((root / ScipIndex.DIRECTORY / ScipIndex.META).read_bytes())["indexers"]

    def content_of(uri: str) -> bytes | None:
        return sources[uri][1] if uri in sources else None

    for entry in entries:
        if entry["status"] in ("indexed", "supplied"):
            path = root / ScipIndex.DIRECTORY / f"{entry['language']}.scip"
            indexer = f"{entry['tool']} {entry['tool_version']}".strip()
            try:
                for group in scip_reader.read_occurrences(path, language=entry["language"]):
                    scip_precise.add(precise, group, entry["tool"], indexer, content_of)
            except IndexFormatError:
                # What somebody supplies must be right; an indexer that was run here may fail, and its files have their syntax.
                if entry["status"] == "supplied":
                    raise
                langs = (entry["language"], *(scip_indexers.TYPESCRIPT if entry["language"] == "typescript" else ()))
                lost = (uri for uri, (lang, _) in sources.items() if lang in langs and uri not in precise.indexers)
                precise.left_out.update(dict.fromkeys(lost, _DAMAGED))
    return precise


def _split(groups: Sequence[pa.Table], parts: int) -> list[pa.Table]:
    """Rows by part of their uri."""
    pieces: list[list[pa.Table]] = [[] for _ in range(parts)]
    for table in groups:
        uris = table["uri"].combine_chunks()
        of = np.array([tables.part_of(uri, parts) for uri in uris.dictionary.to_pylist()], np.int64)
        part = of[uris.indices.to_numpy()]
        for number in np.unique(part).tolist():
            pieces[number].append(table.filter(pa.array(part == number)))
    empty = _OCCURRENCES.empty_table().drop_columns(["provenance", "indexer"])
    return [pa.concat_tables([empty, *map(tables.plain, found)]) for found in pieces]


def _with_indexers(table: pa.Table, precise: scip_precise.Precise) -> pa.Table:
    uris = table["uri"].combine_chunks().dictionary_encode()
    indexers = pa.array([precise.indexers[uri] for uri in uris.dictionary.to_pylist()], pa.string())
    table = table.append_column("provenance", pa.array(["scip"] * table.num_rows, pa.string()))
    return table.append_column("indexer", indexers.take(uris.indices))


def _defined(
    root: Path,
    sources: Mapping[str, tuple[str, bytes]],
    precise: scip_precise.Precise,
    occurrences_by_part: Sequence[pa.Table],
) -> tuple[dict[tuple[str, int], str], scip_syntax.Names]:
    """The symbol of each definition by (uri, name_start_byte), and what each name stands for.

    In a file that an index describes it is the index's symbol, so that files known by syntax alone refer to the same.
    """
    exact: dict[tuple[str, int], str] = {}
    for table in occurrences_by_part:
        rows = table.filter(table["is_definition"]).select(["uri", "start_byte", "symbol"])
        for uri, start, symbol in zip(*(rows[name].to_pylist() for name in rows.schema.names), strict=True):
            if not symbol.startswith("local "):
                exact.setdefault((uri, start), symbol)
    symbols: dict[tuple[str, int], str] = {}
    names = scip_syntax.Names()
    overloads: Counter[str] = Counter()
    columns = ["uri", "name", "qualified_name", "kind", "name_start_byte"]
    for part in tables.read_parts(root, Definitions, columns):
        rows = tables.plain(part)
        for uri, name, qualified, kind, start in zip(*(rows[column].to_pylist() for column in columns), strict=True):
            if uri in precise.indexers:
                symbol = exact.get((uri, start))
                if symbol is None:
                    continue
            else:
                symbol = scip_syntax.symbol_of(uri, qualified, kind)
                overloads[symbol] += 1
                if symbol.endswith("().") and overloads[symbol] > 1:
                    symbol = f"{symbol[:-3]}(+{overloads[symbol] - 1})."
                symbols[uri, start] = symbol
            names.add(sources[uri][0], name, symbol)
    return symbols, names


def _syntax_part(
    part: int,
    ast_root: Path,
    definitions_root: Path,
    sources: Mapping[str, tuple[str, bytes]],
    precise: scip_precise.Precise,
    symbols: Mapping[tuple[str, int], str],
    names: scip_syntax.Names,
    left_out: dict[str, str],
) -> tuple[pa.Table, pa.Table]:
    """Occurrences (columns of ScipOccurrences) and symbols (`_SYMBOLS`) of the files of a part that no index has."""
    nodes = tables.read_part(tables.part_path(ast_root / AstNodes.name, part), AstNodes)
    defined = tables.read_part(tables.part_path(definitions_root / Definitions.name, part), Definitions)
    node_runs = scip_syntax.runs(nodes["uri"])
    defined_runs = scip_syntax.runs(defined["uri"].dictionary_encode())
    pieces = [_OCCURRENCES.empty_table()]
    described: list[pa.Table] = []
    for uri in sorted({*node_runs, *defined_runs} - precise.indexers.keys()):
        lang, content = sources[uri]
        rows = defined.slice(*defined_runs.get(uri, (0, 0)))
        # By the name: one node of Go defines several (`x, y int`).
        mine = [symbols[uri, start] for start in rows["name_start_byte"].to_pylist()]
        tree = nodes.slice(*node_runs[uri]) if uri in node_runs else None
        found = scip_syntax.occurrences(content, lang, tree, rows, mine, names)
        if found.capped:
            left_out[uri] = _CAPPED
        pieces.append(_columns(uri, content, found))
        described.append(
            pa.table(
                {
                    "symbol": pa.array(mine, pa.string()),
                    "display_name": rows["name"],
                    "kind": rows["kind"].cast(pa.string()),
                    "signature": rows["signature"],
                    "documentation": rows["doc"],
                    "relationships": pa.array([[]] * len(mine), ScipSymbols.schema.field("relationships").type),
                    "provenance": pa.array(["syntax"] * len(mine), pa.string()),
                    "uri": pa.array([uri] * len(mine), pa.string()),
                }
            ).cast(_SYMBOLS)
        )
    return pa.concat_tables(pieces), pa.concat_tables([_SYMBOLS.empty_table(), *described])


def _columns(uri: str, content: bytes, found: scip_syntax.Found) -> pa.Table:
    """Occurrences of one file as rows."""
    starts = line_starts(content)
    count = len(found.start)
    free = found.enclosing_start < 0
    columns: dict[str, Any] = {
        "uri": pa.array([uri] * count, pa.string()),
        "symbol": pa.array(found.symbols, pa.string()),
        "roles": pa.array(np.where(found.defines, 1, 8).astype(np.int32)),
        "is_definition": pa.array(found.defines),
        "start_byte": pa.array(found.start.astype(np.int32)),
        "end_byte": pa.array(found.end.astype(np.int32)),
        "start_line": pa.array(line_of(starts, found.start).astype(np.int32)),
        "end_line": pa.array(line_of(starts, np.maximum(found.end - 1, found.start)).astype(np.int32)),
        "enclosing_start_byte": pa.array(found.enclosing_start.astype(np.int32), mask=free),
        "enclosing_end_byte": pa.array(found.enclosing_end.astype(np.int32), mask=free),
        "provenance": pa.array(["syntax"] * count, pa.string()),
        "indexer": pa.array([SYNTAX_INDEXER] * count, pa.string()),
    }
    return pa.table([columns[name] for name in _OCCURRENCES.names], schema=_OCCURRENCES)


def _write_symbols(described: Sequence[pa.Table], parts: int, folder: Path) -> int:
    """One row a symbol, in the part of the first file by uri that describes it. Returns how many."""
    table = pa.concat_tables([_SYMBOLS.empty_table(), *described])
    # Stable: of several descriptions in one file the first stays. Files come before what is said of external symbols.
    order = table.append_column("place", pa.array(np.arange(table.num_rows)))
    order = order.select(["symbol", "uri", "place"]).sort_by([(name, "ascending") for name in ("symbol", "uri", "place")])
    table = table.take(order["place"])
    symbols = table["symbol"].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.ones(len(symbols), bool)
    first[1:] = symbols[1:] != symbols[:-1]
    table = table.filter(pa.array(first)).combine_chunks()
    uris = table["uri"].combine_chunks().dictionary_encode()
    of = np.array([tables.part_of(uri, parts) for uri in uris.dictionary.to_pylist()] + [0], np.int64)
    part = of[uris.indices.fill_null(len(of) - 1).to_numpy()]
    for number in range(parts):
        tables.write_part(folder, ScipSymbols, number, table.filter(pa.array(part == number)))
    return int(table.num_rows)
