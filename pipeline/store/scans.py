"""What the last scan of a repository saw beside its files: the commit, and whether the work tree differed from it.

A snapshot's key depends on content alone, so that the same files at another commit are the same artefact. The manifest wants
the commit; it finds it here, under the digest of the scan.

Belongs here: this one small record. Not here: scanning (`source.scan`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline import files
from pipeline.errors import RuntimeLifecycleError
from pipeline.stage import Artefact
from pipeline.store.layout import Repository, not_writable
from pipeline.store.objects import read_record


class ScanRecord(msgspec.Struct, frozen=True):
    """The digest of a scan, and what it was a scan of."""

    digest: str
    commit: str | None
    dirty: bool


def remember_scan(repository: Repository, digest: str, commit: str | None, dirty: bool) -> None:
    """Keep what the manifest will ask for."""
    try:
        files.write_own_file(
            repository.path / "scan.json", files.canonical_json(msgspec.to_builtins(ScanRecord(digest, commit, dirty)))
        )
    except OSError as error:
        raise not_writable(repository.path, error) from error


def recall_scan(repository: Repository, snapshot: Artefact[Any]) -> ScanRecord:
    """The scan that a snapshot was made from. Raises `RuntimeLifecycleError` when the last scan saw other files."""
    try:
        record = msgspec.json.decode((repository.path / "scan.json").read_bytes(), type=ScanRecord)
    except (OSError, ValueError):
        record = None
    if record is None or record.digest != read_record(snapshot).recipe["external"]["scan"]:
        raise RuntimeLifecycleError(
            f"The snapshot of `{repository.name}` is not from its last scan.",
            hint="Materialize `source_snapshot` and everything after it together, or run `indexctl build`.",
        )
    return record
