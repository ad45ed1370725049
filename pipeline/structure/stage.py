"""The stage that parses: `sources` in, `ast_nodes` and `definitions` out, by one parse a file.

Belongs here: going over the parts, and putting columns of files together into tables. Not here: trees (`syntax`), or what is a
definition (`definitions`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import delta, tables
from pipeline.artefacts import Earlier
from pipeline.columns import codes_of, runs
from pipeline.config import Settings
from pipeline.files import digest_bytes
from pipeline.installed import version
from pipeline.schemas import AstNodes, Definitions, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.definitions import QUERIES, Columns, definitions
from pipeline.structure.syntax import Nodes, grammar, parse, walk, words
from pipeline.workers import Runtime, run_jobs


@dataclass(frozen=True, slots=True)
class _Before:
    """The part as it was: its two tables, and the files that are the same now."""

    ast_nodes: Path
    definitions: Path
    same: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Job:
    """One part: what to read, where to write its two tables, and what is known of it."""

    sources: Path
    part: int
    ast_nodes: Path
    definitions: Path
    before: _Before | None


class _Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a part of `ast_nodes` says of itself."""

    files_parsed: int
    nodes: int
    with_errors: list[str]
    given_up: list[str]
    definitions_by_kind: dict[str, int]

    def counts(self) -> Facts:
        """As the facts of the stage."""
        return {
            "files_parsed": self.files_parsed,
            "files_with_errors": len(self.with_errors),
            "files_given_up": len(self.given_up),
            "nodes": self.nodes,
            "definitions": sum(self.definitions_by_kind.values()),
            "definitions_by_kind": self.definitions_by_kind,
        }


def syntax(
    source: Artefact[Snapshot], runtime: Runtime, ast_nodes: Output[AstNodes], definitions: Output[Definitions]
) -> Facts:
    """Parse every source whose language has a grammar, and write its nodes and definitions, cut into the parts of `sources`.

    Facts: files_parsed; files_with_errors, of these (ERROR or MISSING nodes); files_given_up, which take too much work to parse
    and have no rows; nodes; definitions, and definitions_by_kind.
    """
    earlier = runtime.earlier if delta.cut_alike(runtime.earlier, source, Sources) else None
    unchanged = delta.unchanged_parts(earlier, (source, Sources))
    if earlier is not None:
        delta.link_parts(earlier.outputs[AstNodes.asset].path, ast_nodes.path, AstNodes, sorted(unchanged))
        delta.link_parts(earlier.outputs[Definitions.asset].path, definitions.path, Definitions, sorted(unchanged))
    jobs: list[_Job] = []
    work = 0
    for part, path in enumerate(tables.parts(source.path, Sources)):
        if part in unchanged:
            continue
        before = None
        if earlier is not None:
            changes = delta.part_changes(earlier, source, part)
            before = _before(earlier, part, changes.same)
        work += tables.stored_bytes([path]) if earlier is None else changes.bytes
        jobs.append(_Job(path, part, ast_nodes.path / AstNodes.name, definitions.path / Definitions.name, before))
    come = [told.counts() for told in run_jobs(_write_part, jobs, runtime, work_bytes=work)]
    if earlier is None:
        return delta.totals({}, [], come)
    gone = [_told(job.before).counts() for job in jobs if job.before is not None]
    return delta.totals(earlier.outputs[AstNodes.asset].facts, gone, come)


def _before(earlier: Earlier, part: int, same: frozenset[str]) -> _Before:
    nodes, found = (tables.part_path(earlier.outputs[kind.asset].path / kind.name, part) for kind in (AstNodes, Definitions))
    return _Before(nodes, found, same)


def _told(before: _Before) -> _Told:
    return msgspec.convert(tables.part_facts(before.ast_nodes), _Told)


def _uses(_settings: Settings) -> Mapping[str, str]:
    queries = b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in sorted(QUERIES.glob("*.scm")))
    return {
        "tree-sitter": version("tree-sitter"),
        "tree-sitter-language-pack": version("tree-sitter-language-pack"),
        "queries": digest_bytes(queries),
    }


STAGE = Stage(syntax, code_version="2", uses=_uses)


@dataclass(slots=True)
class _Dictionary:
    """Strings numbered in the order in which they come."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, word: str) -> int:
        return self.numbers.setdefault(word, len(self.numbers))

    def array(self, indices: NDArray[np.int32]) -> pa.Array:
        """A dictionary array; negative indices are null. Words that no index uses are left out."""
        used = np.flatnonzero(np.bincount(indices[indices >= 0], minlength=len(self.numbers)))
        renumbered = np.full(len(self.numbers) + 1, -1, np.int32)
        renumbered[used] = np.arange(len(used), dtype=np.int32)
        compact = renumbered[indices]
        listed = list(self.numbers)
        values = pa.array([listed[number] for number in used.tolist()], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(compact, mask=compact < 0), values)


@dataclass(slots=True)
class _NodeTable:
    """The nodes of the files of one part, and the names that their kind and field ids stand for."""

    uris: list[str] = field(default_factory=list)
    trees: list[Nodes] = field(default_factory=list)
    types: list[NDArray[np.int32]] = field(default_factory=list)
    fields: list[NDArray[np.int32]] = field(default_factory=list)
    named: list[NDArray[np.bool_]] = field(default_factory=list)
    type_words: _Dictionary = field(default_factory=_Dictionary)
    columnwords: _Dictionary = field(default_factory=_Dictionary)
    _lookups: dict[str, tuple[NDArray[np.int32], NDArray[np.int32]]] = field(default_factory=dict)

    def add(self, uri: str, lang: str, nodes: Nodes) -> None:
        """The nodes of one file."""
        grammar_words = words(lang)
        if lang not in self._lookups:
            types = np.array([self.type_words.number(name) for name in grammar_words.types], np.int32)
            fields = np.array([-1, *(self.columnwords.number(name) for name in grammar_words.fields[1:])], np.int32)
            self._lookups[lang] = types, fields
        types, fields = self._lookups[lang]
        ids = grammar_words.type_ids(nodes.kind)
        self.uris.append(uri)
        self.trees.append(nodes)
        self.types.append(types[ids])
        self.fields.append(fields[nodes.field])
        self.named.append(grammar_words.named[ids])

    def table(self) -> pa.Table:
        """All rows, in the schema of `AstNodes`."""
        if not self.trees:
            return AstNodes.schema.empty_table()
        lengths = np.array([len(nodes) for nodes in self.trees])
        uri = pa.DictionaryArray.from_arrays(
            pa.array(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)), pa.array(self.uris, pa.string())
        )
        columns: dict[str, Any] = {
            "uri": uri,
            "node_id": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths.tolist()]),
            "parent_id": np.concatenate([nodes.parent for nodes in self.trees]),
            "type": self.type_words.array(np.concatenate(self.types)),
            "field": self.columnwords.array(np.concatenate(self.fields)),
            "start_byte": np.concatenate([nodes.start for nodes in self.trees]),
            "end_byte": np.concatenate([nodes.end for nodes in self.trees]),
            "depth": np.concatenate([nodes.depth for nodes in self.trees]),
            "named": np.concatenate(self.named),
        }
        return pa.table([pa.array(columns[name]) for name in AstNodes.schema.names], schema=AstNodes.schema)


def _write_part(job: _Job) -> _Told:
    """Write one part of both tables: rows of unchanged files are copied, the other files parsed."""
    sources = tables.read_part(job.sources, Sources)
    uris: list[str] = sources["uri"].to_pylist()
    same = job.before.same if job.before is not None else frozenset()
    new = _parse(uris, sources, same)
    nodes, found = new.nodes.table(), _definition_table(new.uris, new.rows)
    with_errors, given_up, parsed = new.with_errors, new.given_up, new.parsed
    if job.before is not None:
        old = _told(job.before)
        with_errors = sorted(with_errors + [uri for uri in old.with_errors if uri in same])
        given_up = sorted(given_up + [uri for uri in old.given_up if uri in same])
        kept = delta.carried(job.before.ast_nodes, AstNodes, same)
        parsed += len(runs(kept["uri"]))
        nodes = delta.woven(uris, kept, nodes)
        found = delta.woven(uris, delta.carried(job.before.definitions, Definitions, same), found)
    kinds, words = codes_of(found["kind"])
    counts = np.bincount(kinds, minlength=len(words)).tolist()
    told = _Told(
        files_parsed=parsed,
        nodes=nodes.num_rows,
        with_errors=with_errors,
        given_up=given_up,
        definitions_by_kind={word: count for word, count in zip(words.to_pylist(), counts, strict=True) if count},
    )
    tables.write_part(job.ast_nodes, AstNodes, job.part, nodes, facts=msgspec.to_builtins(told))
    tables.write_part(job.definitions, Definitions, job.part, found)
    return told


@dataclass(slots=True)
class _Parsed:
    """What parsing some files of a part found."""

    nodes: _NodeTable = field(default_factory=_NodeTable)
    uris: list[str] = field(default_factory=list)
    """Of each row of definitions."""
    rows: Columns = field(default_factory=Columns)
    with_errors: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    parsed: int = 0


def _parse(uris: list[str], sources: pa.Table, known: Collection[str]) -> _Parsed:
    """Parse the files of a part but those that are known."""
    done = _Parsed()
    langs = sources["lang"].cast(pa.string()).to_pylist()
    for uri, lang, content in zip(uris, langs, sources["content"], strict=True):
        if uri in known or grammar(lang) is None:
            continue
        data = content.as_py()
        tree = parse(data, lang)
        if tree is None:
            done.given_up.append(uri)
            continue
        done.parsed += 1
        if tree.root_node.has_error:
            done.with_errors.append(uri)
        nodes = walk(tree)
        done.nodes.add(uri, lang, nodes)
        found = definitions(data, tree, nodes, lang)
        done.uris.extend([uri] * len(found))
        done.rows.extend(found)
    return done


def _definition_table(uris: list[str], rows: Columns) -> pa.Table:
    columns = {"uri": uris} | {name: getattr(rows, name) for name in Definitions.schema.names if name != "uri"}
    arrays = []
    for column in Definitions.schema:
        is_word = pa.types.is_dictionary(column.type)
        array = pa.array(columns[column.name], pa.string() if is_word else column.type)
        arrays.append(array.dictionary_encode() if is_word else array)
    return pa.table(arrays, schema=Definitions.schema)
