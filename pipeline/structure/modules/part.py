"""The modules of one part, as rows: from the nodes and definitions of its files, or, where those are the same, as they were.

What a row says of history is put in last, so that a part can be given another one without looking at a file. What a part's
imports depend on beyond its own files is kept in it as *probes*: every path that was looked for among the files.

Belongs here: reading and writing one part. Not here: what is in a row (`facts`), all parts (`stage`).
"""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline import tables
from pipeline.columns import codes_of, runs
from pipeline.files import digest_bytes
from pipeline.schemas import AstNodes, Definitions, Modules, Sources
from pipeline.source.listing import read_listing
from pipeline.structure.modules.facts import FileDefinitions, Top, hotspot_score, module_row
from pipeline.structure.modules.file_nodes import NODE_COLUMNS, PartNodes
from pipeline.structure.modules.imports import Catalogue
from pipeline.structure.modules.rules import FUNCTIONS, RULES

Counts = tuple[int, int]
"""Of a file: commits that touched it in the window, and their authors."""

_DEFINITION_COLUMNS = ("uri", "name", "kind", "doc", "node_id", "name_start_byte", "parent")
_NO_COUNTS: Counts = (0, 0)
_WITHOUT_HISTORY = pa.schema(
    pa.field(column.name, column.type.value_type if pa.types.is_dictionary(column.type) else column.type, column.nullable)
    for column in Modules.schema
    if column.name not in ("churn", "authors", "hotspot_score")
)


class PartFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a part says of itself."""

    modules: int
    imports: int
    resolved: int
    changed: int
    languages: dict[str, int]
    tags: dict[str, int]
    history: str
    """Digest of what is known of the history of its files."""
    probes: str
    """The paths that were looked for among the repository's files, as sorted checksums, uint32 in base64."""

    def counts(self) -> dict[str, Any]:
        """As the facts of the stage."""
        told = msgspec.to_builtins(self)
        return {name: told[name] for name in told if name not in ("history", "probes")}

    def looked_for(self, checksums: NDArray[np.uint32]) -> bool:
        """Whether one of some paths, as checksums, was looked for. Rarely says so where none was."""
        own = np.frombuffer(base64.b64decode(self.probes), "<u4")
        return bool(np.isin(checksums, own).any())


def read_facts(part: Path) -> PartFacts:
    """What a part says of itself."""
    return msgspec.convert(tables.part_facts(part), PartFacts)


def checksums(paths: Iterable[str]) -> NDArray[np.uint32]:
    """One for each distinct path, sorted."""
    return np.array(sorted({zlib.crc32(path.encode()) for path in paths}), "<u4")


def digest_of_history(history: Mapping[str, Counts]) -> str:
    """What the part that these files are in says of their history."""
    return digest_bytes(msgspec.json.encode(sorted(history.items())))[:32]


@dataclass(frozen=True, slots=True)
class Job:
    """One part; `snapshot` and `key` say which files there are for imports to find."""

    sources: Path
    ast_nodes: Path
    definitions: Path
    snapshot: Path
    key: str
    history: dict[str, Counts]
    out: Path
    part: int
    before: Path | None = None
    """The part as it was, where its rows are the same but for history."""


@lru_cache(maxsize=1)
def _catalogue(snapshot: Path, _key: str) -> Catalogue:
    """The files that imports may mean: once a process, as every part needs all of them."""
    return Catalogue(read_listing(snapshot).indexed)


def write_part(job: Job) -> PartFacts:
    """Write the modules of one part."""
    if job.before is not None:
        told = read_facts(job.before)
        table, resolved, probes = tables.read_part(job.before, Modules), told.resolved, told.probes
    else:
        table, resolved, probes = _rows(job)
    table = _with_history(table, job.history)
    languages = Counter(table["lang"].cast(pa.string()).to_pylist())
    tags = Counter(tag for listed in table["tags"].to_pylist() for tag in listed)
    facts = PartFacts(
        modules=table.num_rows,
        imports=sum(map(len, table["imports"].to_pylist())),
        resolved=resolved,
        changed=int(np.count_nonzero(table["churn"].to_numpy())),
        languages=dict(sorted(languages.items())),
        tags=dict(sorted(tags.items())),
        history=digest_of_history(job.history),
        probes=probes,
    )
    tables.write_part(job.out, Modules, job.part, table, facts=msgspec.to_builtins(facts))
    return facts


def _with_history(table: pa.Table, history: Mapping[str, Counts]) -> pa.Table:
    """The same rows with what is known of the history of their files."""
    counts = [history.get(uri, _NO_COUNTS) for uri in table["uri"].to_pylist()]
    churn, authors = [churn for churn, _ in counts], [authors for _, authors in counts]
    scores = list(map(hotspot_score, churn, table["complexity"].to_pylist()))
    found = {"churn": churn, "authors": authors, "hotspot_score": scores}
    columns = [
        pa.array(found[column.name], column.type) if column.name in found else table[column.name] for column in Modules.schema
    ]
    return pa.table(dict(zip(Modules.schema.names, columns, strict=True)))


def _rows(job: Job) -> tuple[pa.Table, int, str]:
    """The rows of a part without history, how many of its imports are files, and its probes."""
    sources = tables.read_part(job.sources, Sources)
    catalogue = _catalogue(job.snapshot, job.key)
    catalogue.probed.clear()
    nodes = PartNodes(tables.read_part(job.ast_nodes, AstNodes, NODE_COLUMNS))
    definitions = _PartDefinitions(tables.read_part(job.definitions, Definitions, _DEFINITION_COLUMNS))
    rows: list[dict[str, Any]] = []
    langs = sources["lang"].cast(pa.string()).to_pylist()
    for uri, lang, content in zip(sources["uri"].to_pylist(), langs, sources["content"], strict=True):
        if lang in RULES:
            data = content.as_py()
            rows.append(module_row(uri, lang, data, nodes.of(uri, data), definitions.of(uri), catalogue))
    resolved = sum(target in catalogue.uris for row in rows for target in row["imports"])
    probes = base64.b64encode(checksums(catalogue.probed).tobytes()).decode("ascii")
    return pa.Table.from_pylist(rows, _WITHOUT_HISTORY), resolved, probes


class _PartDefinitions:
    """The definitions of one part, by uri."""

    def __init__(self, table: pa.Table) -> None:
        self._spans = runs(table["uri"])
        codes, kinds = codes_of(table["kind"])
        words = kinds.to_pylist()
        self._functions = np.concatenate(([0], np.cumsum(np.array([word in FUNCTIONS for word in words], np.bool_)[codes])))
        outermost = np.flatnonzero(pc.is_null(table["parent"]).to_numpy())
        top = table.take(outermost)
        names = top["kind"].cast(pa.string()).to_pylist()
        columns = (top[name].to_pylist() for name in ("node_id", "name_start_byte", "doc"))
        self._top = [Top(*row) for row in zip(top["name"].to_pylist(), names, *columns, strict=True)]
        self._before = np.searchsorted(outermost, np.arange(table.num_rows + 1))

    def of(self, uri: str) -> FileDefinitions:
        """The definitions of a file."""
        at = self._spans.get(uri, slice(0, 0))
        functions = int(self._functions[at.stop] - self._functions[at.start])
        return FileDefinitions(at.stop - at.start, functions, self._top[self._before[at.start] : self._before[at.stop]])
