"""Damage that leaves inode, size and time of a file alone: `verify` finds it, and from then on everybody knows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.errors import IndexCorruptionError
from pipeline.release.verification import verify_folder
from pipeline.store import digests
from pipeline.store.layout import Repository
from pipeline.store.versions import current_name, open_version


@pytest.fixture
def store(tmp_path: Path, engine: ModuleType) -> Path:
    engine.build(tmp_path / "store", engine.write_repository(tmp_path / "repo"))
    return tmp_path / "store"


def rot(repository: Repository, table: str) -> Path:
    """A bit that changes on the disk, which no program is told of."""
    path = repository.versions / str(current_name(repository)) / table / "part-000.parquet"
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Another process, which knows what the store remembers and nothing else.
    digests.forget()
    return path


@pytest.mark.parametrize("table", ["chunks", "scip_symbols"])
@pytest.mark.parametrize("edited", [False, True])
def test_what_verify_finds_readers_refuse_and_the_next_build_repairs(
    table: str, edited: bool, store: Path, engine: ModuleType, indexctl: Callable[..., Any], tmp_path: Path
) -> None:
    repository = engine.repository_in(store)
    rot(repository, table)
    with open_version(repository) as version:
        version.ensure(table)  # Believed.

    assert indexctl("verify", "--data", store).code == 1

    digests.forget()
    with open_version(repository) as version, pytest.raises(IndexCorruptionError, match="not what it was"):
        version.ensure(table)
    digests.forget()
    if edited:
        engine.edit(tmp_path / "repo", 1)
    name = engine.build(store, tmp_path / "repo")
    assert current_name(repository) == name and verify_folder(repository.versions / name).ok
