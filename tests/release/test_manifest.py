"""How versions are named, and what the manifest says of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.config import Settings
from pipeline.index.dense.operating_point import OperatingPoint
from pipeline.index.tuning.document import Recall, TuningDocument, operating_point
from pipeline.index.tuning.locked_point import LockedPoint
from pipeline.index.tuning.stage import sweep_table
from pipeline.index.tuning.sweep import Measured
from pipeline.release.manifest import Identity, tool_versions, version_name
from pipeline.schemas import Tuning
from pipeline.store.layout import is_version_name
from pipeline.store.objects import read_record
from pipeline.store.versions import MANIFEST, read_manifest
from pipeline.tables import write_parquet

World = Any
KEYS = {"chunks": "a" * 32, "files": "b" * 32}
IDENTITY = Identity("team/shapes", "c" * 40, False, None, Settings().flat())


def test_a_version_is_named_by_what_it_is() -> None:
    name = version_name(KEYS, IDENTITY)
    assert is_version_name(name)
    assert name == version_name(dict(reversed(KEYS.items())), IDENTITY)


def test_a_version_is_not_named_by_its_history() -> None:
    later = replace(IDENTITY, parent="v-0123456789abcdef")
    assert version_name(KEYS, later) == version_name(KEYS, IDENTITY)
    assert later.digest != IDENTITY.digest


@pytest.mark.parametrize(
    "change",
    [{"repository": "other"}, {"commit": None}, {"commit": "d" * 40}, {"dirty": True}, {"settings": {}}],
    ids=lambda change: next(iter(change)),
)
def test_another_identity_is_another_version(change: dict[str, Any]) -> None:
    assert version_name(KEYS, replace(IDENTITY, **change)) != version_name(KEYS, IDENTITY)


@pytest.mark.parametrize("keys", [{**KEYS, "chunks": "e" * 32}, {**KEYS, "more": "f" * 32}, {"chunks": "a" * 32}])
def test_other_artefacts_are_another_version(keys: dict[str, str]) -> None:
    assert version_name(keys, IDENTITY) != version_name(KEYS, IDENTITY)


def test_the_manifest_describes_every_artefact_as_its_object_does(world: World) -> None:
    made = world.states["one"]
    document = read_manifest(world.manifest().path)

    assert set(document.artefacts) == set(made)
    for asset, described in document.artefacts.items():
        record = read_record(made[asset])
        assert (described.key, described.digest, described.files) == (made[asset].key, record.digest, record.files)
        assert described.recipe == record.recipe and described.facts == record.facts
    assert document.artefacts["source_snapshot"].rows == {"files": 6, "sources": 6}
    assert document.artefacts["faiss_idmap"].rows == {"faiss_idmap": document.counts["chunks"]}
    assert document.embedder["digest"] == document.faiss["embedder_digest"]
    assert document.tools == tool_versions() and "pyarrow" in document.tools


def test_the_same_inputs_give_the_same_manifest(world: World) -> None:
    first = (world.manifest().path / MANIFEST).read_bytes()
    shutil.rmtree(world.repository.objects / "manifest")
    assert (world.manifest().path / MANIFEST).read_bytes() == first


@pytest.mark.parametrize("bound", [False, True])
def test_the_recall_of_a_locked_point_is_what_was_measured_there_and_never_a_bound(tmp_path: Path, bound: bool) -> None:
    shallow, deep = (OperatingPoint(nprobe=nprobe, k_factor=2.0) for nprobe in (4, 8))
    sweep = [Measured(shallow, 100, 0.75, 0.5, 0.875, 40, bound=bound), Measured(deep, 100, 1.0, 0.99, 1.0, 80)]
    write_parquet(tmp_path / Tuning.SWEEP, sweep_table(sweep), Tuning.tag())
    found = Recall(recall=1.0, low=0.99, high=1.0)
    tuned = TuningDocument(
        version=1, index="i", family="ivf_sq8", exact=False, k=10, target=0.99, met=True, parameters="nprobe=8", k_factor=2.0,
        scored=80, queries=200, tuning=found, held_out=found, grid=2,
    )  # fmt: skip
    (tmp_path / Tuning.FILE).write_bytes(msgspec.json.encode(tuned))
    point = operating_point(tmp_path, LockedPoint(family="ivf_sq8", parameters="nprobe=4", k_factor=2.0))
    assert (point["locked"], point["parameters"], point["met"], point["held_out"]) == (True, "nprobe=4", None, None)
    assert point["tuning"] == (None if bound else {"recall": 0.75, "low": 0.5, "high": 0.875})
