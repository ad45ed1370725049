"""Toy kinds, stages and versions: small enough that every moment of their life can be looked at.

Not a test module: `conftest.py` hands it to the tests, and `faults.py` uses it in a process of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pipeline import files
from pipeline.config import ChunkSettings, Settings
from pipeline.errors import CodeIntelError
from pipeline.release.verification import Problem, Verification
from pipeline.schemas import Kind, Manifest
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.store import versions
from pipeline.store.layout import Origin, Repository, create_store, write_origin
from pipeline.store.objects import check_file, read_record, sealed_digest
from pipeline.store.settling import settle
from pipeline.workers import Runtime


class Text(Kind):
    asset = "text"


class Words(Kind):
    asset = "words"


class Lengths(Kind):
    asset = "lengths"


class Joined(Kind):
    asset = "joined"


@dataclass(frozen=True)
class Given:
    """An input from outside the graph."""

    value: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.value.encode()).hexdigest()


def text(given: Given, runtime: Runtime, out: Output[Text]) -> Facts:
    (out.path / "text.txt").write_text(given.value)
    (out.path / "deep").mkdir()
    (out.path / "deep" / "again.txt").write_text(given.value * 2)
    (out.path / "empty").write_bytes(b"")
    runtime.progress(1, 1)
    return {"letters": len(given.value), "share": 0.5, "nothing": None}


def split(
    text: Artefact[Text], settings: ChunkSettings, runtime: Runtime, words: Output[Words], lengths: Output[Lengths]
) -> Facts:
    found = (text.path / "text.txt").read_text().split()
    (words.path / "words.txt").write_text("\n".join(found))
    (lengths.path / "lengths.txt").write_text("\n".join(str(len(word)) for word in found))
    runtime.progress(1, 1)
    return {"words": len(found)}


def join(words: Artefact[Words], text: Artefact[Text], out: Output[Joined]) -> Facts:
    (out.path / "joined.txt").write_text("done")
    return {}


def failing(given: Given, out: Output[Text]) -> Facts:
    (out.path / "half.txt").write_text("half")
    raise ValueError("the stage broke")


TEXT = Stage(text, code_version="1")
SPLIT = Stage(split, code_version="1", uses=lambda settings: {"splitter": "1"})
JOIN = Stage(join, code_version="1")
FAILING = Stage(failing, code_version="broken")


def manifest(text: Artefact[Text], identity: Given, out: Output[Manifest]) -> Facts:
    """A version of one artefact."""
    record = read_record(text)
    described = versions.ManifestArtefact(
        key=record.key, code_version="1", schema=record.schema, digest=record.digest, rows={}, facts=record.facts,
        recipe=record.recipe, files=record.files,
    )  # fmt: skip
    name = "v-" + hashlib.sha256(record.key.encode()).hexdigest()[:16]
    document = versions.ManifestDocument(
        format=versions.FORMAT, version=name, program="toy", repository="toy", commit=None, dirty=False, parent=None,
        settings={}, tools={}, counts={}, embedder={}, faiss={}, operating_point={}, evaluation={},
        artefacts={text.asset: described},
    )  # fmt: skip
    document = msgspec.structs.replace(document, digest=sealed_digest(document))
    (out.path / versions.MANIFEST).write_bytes(files.canonical_json(document))
    return {"version": name}


MANIFEST = Stage(manifest, code_version="1")


def make_repository(folder: Path, name: str = "toy") -> Repository:
    """A registered repository in a new store in `folder`."""
    store = create_store(folder / "data")
    repository = store.repository(name)
    write_origin(repository, Origin(name, str(folder)))
    return repository


def settle_text(repository: Repository, value: str, runtime: Runtime | None = None) -> Artefact[Text]:
    settled = settle(repository, TEXT, {}, Settings(), externals={"given": Given(value)}, runtime=runtime)
    return settled.artefacts["text"]


def settle_manifest(repository: Repository, value: str) -> Artefact[Any]:
    """The manifest of a version whose text is `value`; its facts name the version."""
    made = settle_text(repository, value)
    settled = settle(repository, MANIFEST, {"text": made}, Settings(), externals={"identity": Given("")})
    return settled.artefacts["manifest"]


def no_judgement(*_: object) -> dict[str, object]:
    """In place of the gate on quality."""
    return {}


def verify_digests(folder: Path, *, reread: bool = True, recheck: bool = True) -> Verification:
    """Stands in for `verify_folder`, whose checks want real artefacts: the digests alone."""
    try:
        document = versions.read_manifest(folder)
    except CodeIntelError as error:
        return Verification(folder.name, {}, (Problem("manifest", error.message),), 1)
    wrong = [Problem("text", found) for one in document.all_files() if (found := check_file(folder, one, reread=reread))]
    return Verification(document.version, {}, tuple(wrong), 1)


def contents(root: Path) -> dict[str, bytes]:
    """Every file under `root` by its relative path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def leftovers(root: Path) -> list[str]:
    """Everything under `root` that a crashed or failed writer left."""
    return [path.name for path in root.rglob("*") if path.name.startswith(files.TEMPORARY_PREFIX)]
