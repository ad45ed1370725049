"""The stage that parses: `sources` in, `ast_nodes` and `definitions` out, by one parse a file.

Belongs here: going over the parts, and putting columns of files together into tables. Not here: trees (`syntax`), or what is a
definition (`definitions`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import tables
from pipeline.config import Settings
from pipeline.files import digest_bytes
from pipeline.schemas import AstNodes, Definitions, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.definitions import QUERIES, Columns, definitions
from pipeline.structure.syntax import Nodes, grammar, parse, walk, words
from pipeline.workers import Runtime, run_jobs


@dataclass(frozen=True, slots=True)
class _Job:
    """One part: what to read, and where to write its two tables."""

    sources: Path
    part: int
    ast_nodes: Path
    definitions: Path


@dataclass(frozen=True, slots=True)
class _Done:
    """What a job found."""

    files_parsed: int
    files_with_errors: int
    files_given_up: int
    nodes: int
    kinds: dict[str, int]


def syntax(
    source: Artefact[Snapshot], runtime: Runtime, ast_nodes: Output[AstNodes], definitions: Output[Definitions]
) -> Facts:
    """Parse every source whose language has a grammar, and write its nodes and definitions, cut into the parts of `sources`.

    Facts: files_parsed; files_with_errors, of these (ERROR or MISSING nodes); files_given_up, which take too much work to parse
    and have no rows; nodes; definitions, and definitions_by_kind.
    """
    paths = tables.parts(source.path, Sources)
    jobs = [
        _Job(path, part, ast_nodes.path / AstNodes.name, definitions.path / Definitions.name) for part, path in enumerate(paths)
    ]
    done = list(run_jobs(_write_part, jobs, runtime, work_bytes=tables.stored_bytes(paths)))
    kinds: Counter[str] = Counter()
    for part in done:
        kinds.update(part.kinds)
    return {
        "files_parsed": sum(part.files_parsed for part in done),
        "files_with_errors": sum(part.files_with_errors for part in done),
        "files_given_up": sum(part.files_given_up for part in done),
        "nodes": sum(part.nodes for part in done),
        "definitions": kinds.total(),
        "definitions_by_kind": dict(sorted(kinds.items())),
    }


def _uses(_settings: Settings) -> Mapping[str, str]:
    queries = b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in sorted(QUERIES.glob("*.scm")))
    return {
        "tree-sitter": version("tree-sitter"),
        "tree-sitter-language-pack": version("tree-sitter-language-pack"),
        "queries": digest_bytes(queries),
    }


STAGE = Stage(syntax, code_version="1", uses=_uses)


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


def _write_part(job: _Job) -> _Done:
    """Parse the files of one part and write its part of both tables."""
    sources = tables.read_part(job.sources, Sources)
    node_table = _NodeTable()
    uris: list[str] = []
    rows = Columns()
    parsed = with_errors = given_up = 0
    langs = sources["lang"].cast(pa.string()).to_pylist()
    for uri, lang, content in zip(sources["uri"].to_pylist(), langs, sources["content"], strict=True):
        if grammar(lang) is None:
            continue
        data = content.as_py()
        tree = parse(data, lang)
        if tree is None:
            given_up += 1
            continue
        parsed += 1
        with_errors += tree.root_node.has_error
        nodes = walk(tree)
        node_table.add(uri, lang, nodes)
        found = definitions(data, tree, nodes, lang)
        uris.extend([uri] * len(found))
        rows.extend(found)
    count = tables.write_part(job.ast_nodes, AstNodes, job.part, node_table.table())
    tables.write_part(job.definitions, Definitions, job.part, _definition_table(uris, rows))
    return _Done(parsed, with_errors, given_up, count, dict(Counter(rows.kind)))


def _definition_table(uris: list[str], rows: Columns) -> pa.Table:
    columns = {"uri": uris} | {name: getattr(rows, name) for name in Definitions.schema.names if name != "uri"}
    arrays = []
    for column in Definitions.schema:
        is_word = pa.types.is_dictionary(column.type)
        array = pa.array(columns[column.name], pa.string() if is_word else column.type)
        arrays.append(array.dictionary_encode() if is_word else array)
    return pa.table(arrays, schema=Definitions.schema)
