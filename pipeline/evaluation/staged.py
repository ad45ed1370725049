"""An index that is not published yet, opened for search: its artefacts, linked into one folder as a version has them.

Belongs here: making such a folder, and what stands for its manifest. Not here: searching it (`evaluator`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pipeline.config import EmbedSettings, SearchSettings, SpladeSettings, XtrSettings
from pipeline.index.dense.arrays import TrueVectors
from pipeline.index.tuning.document import operating_point
from pipeline.index.tuning.locked_point import Lock
from pipeline.schemas import Embeddings, FaissIndex, Tuning
from pipeline.search.opened import Opened
from pipeline.stage import Artefact
from pipeline.store.objects import OBJECT_FILE, read_record
from pipeline.store.versions import FORMAT, ManifestArtefact, ManifestDocument


@dataclass(frozen=True, slots=True)
class Staged:
    """Artefacts in one folder. The store verified them when they were settled."""

    path: Path
    manifest: ManifestDocument
    name: str = "the version that is being evaluated"

    def ensure(self, *assets: str) -> Path:
        """The folder of all."""
        return self.path

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The settings that searches of a version depend on."""

    search: SearchSettings
    embed: EmbedSettings
    splade: SpladeSettings
    xtr: XtrSettings


@contextlib.contextmanager
def staged(artefacts: Sequence[Artefact[Any]], engine: Engine, lock: Lock) -> Iterator[Opened]:
    """The artefacts opened for search, as they would be published; `embeddings`, `faiss_index` and `tuning` are among them."""
    known = {artefact.asset: artefact for artefact in artefacts}
    with tempfile.TemporaryDirectory(prefix="codeintel-evaluation-") as name:
        folder = Path(name)
        for artefact in artefacts:
            for path in artefact.path.iterdir():
                if path.name != OBJECT_FILE:
                    (folder / path.name).symlink_to(path)
        # A device rounds in its own way; an evaluation is the same everywhere.
        search = msgspec.structs.replace(engine.search, use_gpu=False)
        opened = Opened(Staged(folder, _draft(known, lock)), search, engine.embed, engine.splade, engine.xtr)
        try:
            yield opened
        finally:
            opened.close()


def unsearchable(opened: Opened) -> str:
    """Why nothing can be asked, because indexes do not fit together; nothing where they do."""
    documents, vectors = opened.files.files.ids, TrueVectors.open(opened.version.ensure("embeddings")).ids
    if np.array_equal(documents, vectors):
        return ""
    missing = int((~np.isin(vectors, documents)).sum())
    return f"{missing:,} of {len(vectors):,} chunks have no document" if missing else "it has documents of unknown chunks"


def _draft(known: Mapping[str, Artefact[Any]], lock: Lock) -> ManifestDocument:
    """A manifest of what is there, as far as searching reads one."""
    embedder = (known[Embeddings.asset].path / Embeddings.EMBEDDER).read_bytes()
    meta = (known[FaissIndex.asset].path / FaissIndex.META).read_bytes()
    return ManifestDocument(
        format=FORMAT, version="", program="", repository=known[Embeddings.asset].repo, commit=None, dirty=False, parent=None,
        settings={}, tools={}, counts={}, embedder=msgspec.json.decode(embedder), faiss=msgspec.json.decode(meta),
        operating_point=operating_point(known[Tuning.asset].path, lock.point), evaluation={},
        artefacts={asset: _described(artefact) for asset, artefact in known.items()},
    )  # fmt: skip


def _described(artefact: Artefact[Any]) -> ManifestArtefact:
    record = read_record(artefact)
    return ManifestArtefact(
        key=record.key, code_version=record.code_version, schema=record.schema, digest=record.digest, rows={},
        facts=record.facts, recipe=record.recipe, files=record.files,
    )  # fmt: skip
