"""Builds that Dagster has not heard of yet: one small file each, written when a build without Dagster has published.

`unreported/<time>-<version>.json` in the folder of a repository. Whoever reports them removes them, so what could not be
reported is there for the next one; the oldest beyond a bound are dropped, because they are news and nothing depends on them.

Belongs here: these files. Not here: telling Dagster (`assets.reported`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pipeline import files
from pipeline.store.layout import Repository

FORMAT = 1
MOST = 50
"""Builds of a repository that wait to be reported."""
_FOLDER = "unreported"


class Checked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a check found."""

    problems: list[str]
    facts: dict[str, Any]


class Unreported(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A build that has published `version`."""

    format: int
    version: str
    previous: str | None
    flipped: bool
    keys: dict[str, str]
    """Asset -> key of what it settled on."""
    reused: list[str]
    started: float
    ended: float
    """Seconds since the epoch, UTC."""
    seconds: dict[str, float]
    """By asset."""
    findings: dict[str, Checked]
    """By check."""
    allowed: dict[str, list[str]]


def write(repository: Repository, build: Unreported) -> None:
    """Note a build. A store that cannot be written is no reason to fail: it is published."""
    with contextlib.suppress(OSError):
        for path in _paths(repository)[: -MOST + 1]:
            path.unlink(missing_ok=True)
        name = f"{time.time_ns():020d}-{build.version}.json"
        files.write_file(repository.path / _FOLDER / name, msgspec.json.encode(build))


def waiting(repository: Repository) -> Iterator[tuple[Path, Unreported | None]]:
    """The files, the oldest first, with what they say; None where that cannot be read."""
    for path in _paths(repository):
        try:
            build = msgspec.json.decode(path.read_bytes(), type=Unreported)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            build = None
        yield path, build if build is not None and build.format == FORMAT else None


def is_any(repository: Repository) -> bool:
    """Whether a build waits to be reported."""
    return bool(_paths(repository))


def _paths(repository: Repository) -> list[Path]:
    folder = repository.path / _FOLDER
    return sorted(folder.glob("*.json")) if folder.is_dir() else []
