"""Nothing gets a name that others see before it is on the disk, and CURRENT names nothing that a power cut could take away.

A killed process loses nothing that the kernel has; a power cut does. So the calls of an undisturbed run are replayed on paper:
what was written and not yet made durable, file by file and folder by folder.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HIDDEN = ".tmp-"
COURTESIES = (".lock", ".cache", ".commits")
"""Ends of names that nobody would miss. The caches are sealed by a digest, so that half of one is none of it."""


class Disk:
    """What a disk may not have yet."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.next = itertools.count()
        self.unwritten: set[int] = set()
        self.unlisted: set[str] = set()
        """Folders whose entries changed since they were made durable."""

    def number(self, path: str) -> int:
        return self.numbers.setdefault(path, next(self.next))

    def replay(self, call: list[str]) -> list[str]:
        """Take one call; returns what it makes visible too early."""
        name, path, *others = call
        folder = os.path.dirname(path)
        match name:
            case "open" | "mkdir" if path not in self.numbers:
                self.unlisted.add(folder)
                if name == "open":
                    self.unwritten.add(self.number(path))
                else:
                    self.unlisted.add(path)
            case "write" | "pwrite" | "writev" | "sendfile" | "copy_file_range" | "ftruncate":
                self.unwritten.add(self.number(path))
            case "fsync" | "fdatasync":
                self.unwritten.discard(self.numbers.get(path, -1))
                self.unlisted.discard(path)
            case "unlink" | "rmdir":
                self.numbers.pop(path, None)
                self.unlisted.discard(path)
            case "link":
                self.numbers[others[0]] = self.number(path)
                self.unlisted.add(os.path.dirname(others[0]))
            case "rename":
                return self._rename(path, others[0])
        return []

    def _rename(self, path: str, target: str) -> list[str]:
        early = []
        for old in [old for old in self.numbers if old == path or old.startswith(f"{path}/")]:
            number = self.numbers[target + old[len(path) :]] = self.numbers.pop(old)
            if number in self.unwritten:
                early.append(old)
        for old in [old for old in self.unlisted if old == path or old.startswith(f"{path}/")]:
            self.unlisted.discard(old)
            early.append(old)
        self.unlisted |= {os.path.dirname(path), os.path.dirname(target)}
        if target.endswith("/CURRENT"):
            early += [folder for folder in self.unlisted if folder.endswith(("/versions", "/objects"))]
        return [] if HIDDEN in target or target.endswith(COURTESIES) else early


@pytest.mark.parametrize("scenario", ["cold", "delta", "rollback", "repair"])
def test_what_others_see_is_on_the_disk_first(scenario: str, points: Callable[..., Any], tmp_path: Path) -> None:
    first, _ = points(scenario, "kill", tmp_path / "matrix", 0)
    disk = Disk()
    early = [(call[-1], found) for call in first["calls"] if (found := disk.replay(call))]
    assert not early, [path[-60:] for path, _ in early]
    lost = {path for path, number in disk.numbers.items() if number in disk.unwritten and HIDDEN not in path}
    assert not {path for path in lost if not path.endswith(COURTESIES)}
    seen = {os.path.basename(call[-1]) for call in first["calls"] if call[0] == "rename"}
    assert "CURRENT" in seen or (scenario == "repair" and first["before"]["current"] in seen)
