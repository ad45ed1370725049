"""Making a sample of a version again from its own sources, to see that each asset follows from its inputs.

Digests tell whether a file is what was written. Whether what was written follows from the sources only making it again can
tell: somebody may have replaced an object and sealed the manifest anew. A version has the bytes of what it indexes, so no
repository is needed. A few files of a few parts are taken; stages run over them alone, and rows are compared.

Belongs here: `verify --deep`. Not here: what holds of any version (`verification`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import tables
from pipeline.chunks.stage import STAGE as CHUNKS
from pipeline.config import Settings
from pipeline.embed.stage import STAGE as EMBEDDINGS
from pipeline.errors import CodeIntelError
from pipeline.index.lexical import ROW_COLUMNS, LexicalReader
from pipeline.release.findings import Finding, finding, sample_rows
from pipeline.schemas import (
    AstNodes,
    Chunks,
    CstNodes,
    Definitions,
    Embeddings,
    Files,
    Kind,
    LexicalIndex,
    Sources,
    Table,
)
from pipeline.settings_files import from_flat
from pipeline.stage import Artefact, Stage
from pipeline.store.versions import ManifestDocument
from pipeline.structure.cst.stage import STAGE as CST
from pipeline.structure.stage import STAGE as SYNTAX
from pipeline.workers import Runtime

PARTS, FILES_OF_PART = 4, 6
"""How many parts are sampled, and files of each."""
LEAST_AGREEMENT = 0.99
"""As `quality_checks` asks of vectors of one text."""
_SAMPLED = (Files, Sources, AstNodes, Definitions, CstNodes, Chunks)
_DOCUMENTS = 2000
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Rederived:
    """What came of making an asset again. `skipped` says why that could not be done here, which is no fault of the version."""

    asset: str
    finding: Finding
    skipped: str = ""


def rederive(folder: Path, manifest: ManifestDocument) -> Iterator[Rederived]:
    """Make samples of what can be made again, and compare. Never raises for what is wrong with a version that verifies."""
    for asset, artefact in manifest.artefacts.items():
        others = _other_inputs(manifest, artefact.recipe)
        if others:
            shown = f"it was made from another `{others[0]}` than the one of this version"
            yield Rederived(asset, finding([shown]))
    settings = _settings_of(manifest)
    if settings is None:
        yield Rederived("manifest", Finding(), "this program does not know the settings that it was built with")
        return
    with tempfile.TemporaryDirectory(prefix="codeintel-deep-") as scratch:
        sample = _sample(folder, Path(scratch) / "sample")
        for stage, compare in _WAYS:
            yield from _again(stage, compare, folder, manifest, settings, sample, Path(scratch) / stage.name)
        yield _attempt(LexicalIndex.asset, lambda: _documents(folder))


def _other_inputs(manifest: ManifestDocument, recipe: Mapping[str, Any]) -> list[str]:
    """Inputs that an artefact was made from and that are not those of the version."""
    inputs = recipe.get("inputs", {})
    return [asset for asset, key in inputs.items() if asset not in manifest.artefacts or manifest.artefacts[asset].key != key]


def _settings_of(manifest: ManifestDocument) -> Settings | None:
    try:
        return from_flat(manifest.settings, origin="the manifest")
    except CodeIntelError:
        return None


def _sample(folder: Path, out: Path) -> Path:
    """A version of a few files: one part of each table that stages read from, with the rows of these files."""
    parts = tables.parts(folder, Files)
    rows: dict[type[Table], list[pa.Table]] = {kind: [] for kind in _SAMPLED}
    for part in sample_rows(len(parts), PARTS).tolist():
        listed = tables.plain(tables.read_part(parts[part], Files))
        listed = listed.filter(pc.equal(listed["status"], "indexed")).sort_by("uri")
        chosen = listed["uri"].take(pa.array(sample_rows(listed.num_rows, FILES_OF_PART)))
        for kind, found in rows.items():
            table = tables.plain(tables.read_part(tables.part_path(folder / kind.name, part), kind))
            found.append(table.filter(pc.is_in(table["uri"], value_set=chosen.combine_chunks())))
    for kind, found in rows.items():
        table = pa.concat_tables(found)
        # Files in their order, the rows of each in the order that they have.
        codes = pc.rank(table["uri"], tiebreaker="dense").to_numpy()
        tables.write_part(out / kind.name, kind, 0, table.take(pa.array(np.argsort(codes, kind="stable"))))
    return out


Compare = Callable[[Path, Path], list[str]]
"""What is wrong with the rows in the version's sample, beside those that were made again: (version's, made)."""


def _again(
    stage: Stage, compare: Compare, folder: Path, manifest: ManifestDocument, settings: Settings, sample: Path, out: Path
) -> Iterator[Rederived]:
    outputs = {asset: out / asset for asset in stage.assets}
    skipped = _why_not(stage, manifest, settings)
    if not skipped:
        try:
            for path in outputs.values():
                path.mkdir(parents=True)
            inputs = {kind.asset: _stand_in(kind, manifest, sample) for kind in stage.inputs.values()}
            stage.call(inputs, settings, {}, Runtime(), outputs)
        except Exception as error:  # An embedder that is not there, say: no fault of the version.
            reason = error.message if isinstance(error, CodeIntelError) else f"{type(error).__name__}: {error}"
            skipped = f"it could not be made again: {reason}"
    expected = folder if stage is EMBEDDINGS else sample
    for asset, path in outputs.items():
        yield Rederived(asset, Finding(), skipped) if skipped else _attempt(asset, partial(_compared, compare, expected, path))


def _why_not(stage: Stage, manifest: ManifestDocument, settings: Settings) -> str:
    """Why a stage of this program cannot be expected to make what the version has."""
    for asset in stage.assets:
        recipe = manifest.artefacts[asset].recipe
        if (recipe.get("code_version"), recipe.get("uses")) != (stage.code_version, dict(stage.uses(settings))):
            return "it was made by other versions of libraries, grammars or weights"
    if stage is CHUNKS and settings.chunks.id_strategy == "sequence":
        return "its ids are numbered over all files"
    return ""


def _compared(compare: Compare, expected: Path, made: Path) -> Finding:
    return finding(compare(expected, made))


def _attempt(asset: str, compare: Callable[[], Finding]) -> Rederived:
    try:
        return Rederived(asset, compare())
    except Exception as error:  # As in a check: libraries have their own ways to fail on bad content.
        return Rederived(asset, Finding((str(error) or type(error).__name__,)))


def _stand_in(kind: type[Kind], manifest: ManifestDocument, sample: Path) -> Artefact[Any]:
    own = manifest.artefacts[kind.asset]
    return Artefact(manifest.repository, kind.asset, own.key, sample, own.schema, own.digest, {}, own.facts)


def _same_rows(*kinds: type[Table]) -> Compare:
    def compare(expected: Path, made: Path) -> list[str]:
        problems = []
        for kind in kinds:
            if not tables.has_table(made, kind):
                continue
            old, new = (tables.read_table(root, kind) for root in (expected, made))
            uris = sorted({*old["uri"].to_pylist(), *new["uri"].to_pylist()})
            wrong = [uri for uri in uris if not _of(old, uri).equals(_of(new, uri))]
            if wrong:
                problems.append(
                    f"the rows of {len(wrong)} of {len(uris)} sampled files do not follow from its inputs: "
                    f"{', '.join(wrong[:_NAMED])}"
                )
        return problems

    return compare


def _of(table: pa.Table, uri: str) -> pa.Table:
    return table.filter(pc.equal(table["uri"], uri)).combine_chunks()


def _same_vectors(version: Path, made: Path) -> list[str]:
    """Vectors of sampled chunks in the version's table, beside those that the embedder gives their texts now."""
    new = tables.read_table(made, Embeddings)
    wanted = new["id"].combine_chunks()
    found = []
    for path in tables.parts(version, Embeddings):
        table = tables.read_part(path, Embeddings)
        found.append(table.filter(pc.is_in(table["id"], value_set=wanted)))
    old = pa.concat_tables(found).sort_by("id")
    new = new.sort_by("id")
    if old["id"].to_pylist() != new["id"].to_pylist():
        return [f"{old.num_rows} of {new.num_rows} sampled chunks have vectors"]
    size = new["embedding"].type.list_size
    left, right = (table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, size) for table in (old, new))
    wrong = int(np.count_nonzero(np.einsum("ij,ij->i", left, right) < LEAST_AGREEMENT))
    return [f"{wrong} of {new.num_rows} sampled vectors are not those of their chunks' texts"] if wrong else []


def _documents(version: Path) -> Finding:
    """What the lexical index stores of chunks is what the table says of them."""
    parts = tables.parts(version, Chunks)
    columns = ("id", *ROW_COLUMNS)
    rows: list[dict[str, Any]] = []
    for part in sample_rows(len(parts), PARTS).tolist():
        rows.extend(tables.plain(tables.read_part(parts[part], Chunks, columns)).to_pylist())
    rows = [rows[row] for row in sample_rows(len(rows), _DOCUMENTS).tolist()]
    with LexicalReader(version) as reader:
        stored = reader.documents([row["id"] for row in rows])
    wrong = [row["uri"] for row, document in zip(rows, stored, strict=True) if {**row} != {**document}]
    shown = ", ".join(sorted(set(wrong))[:_NAMED])
    return finding([f"{len(wrong)} of {len(rows)} sampled documents are not of their chunks: {shown}"] if wrong else [])


_WAYS: Sequence[tuple[Stage, Compare]] = (
    (SYNTAX, _same_rows(AstNodes, Definitions)),
    (CST, _same_rows(CstNodes)),
    (CHUNKS, _same_rows(Chunks)),
    (EMBEDDINGS, _same_vectors),
)
