"""The record of the last scan, by which a manifest knows the commit."""

from __future__ import annotations

from types import ModuleType

import pytest

from pipeline.config import Settings
from pipeline.errors import RuntimeLifecycleError
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.store.layout import Repository
from pipeline.store.scans import recall_scan, remember_scan
from pipeline.store.settling import settle


def _stage(toys: ModuleType) -> Stage:
    def snapshot(scan: object, out: object) -> Facts:
        return {}

    snapshot.__annotations__ = {"scan": toys.Given, "out": Output[toys.Text], "return": Facts}
    return Stage(snapshot, code_version="1")


@pytest.fixture
def snapshot(repository: Repository, toys: ModuleType) -> Artefact[object]:
    return settle(repository, _stage(toys), {}, Settings(), externals={"scan": toys.Given("files")}).artefacts["text"]


def test_the_scan_of_a_snapshot_is_recalled(repository: Repository, snapshot: Artefact[object], toys: ModuleType) -> None:
    remember_scan(repository, toys.Given("files").digest, "abc", True)
    record = recall_scan(repository, snapshot)
    assert (record.commit, record.dirty) == ("abc", True)


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b'{"digest": "\xff"}', b'{"digest": "other", "commit": null, "dirty": false}']
)
def test_a_snapshot_of_another_scan_is_refused(
    content: bytes | None, repository: Repository, snapshot: Artefact[object]
) -> None:
    if content is not None:
        (repository.path / "scan.json").write_bytes(content)
    with pytest.raises(RuntimeLifecycleError, match="not from its last scan"):
        recall_scan(repository, snapshot)
