"""Toy stages, faults, and a repository in a fresh store."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipeline import files
from pipeline.release import publication
from pipeline.store.layout import Repository


def _load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert specification is not None and specification.loader is not None
    # Registered, because the type hints of the toy stages are resolved in their module.
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


_TOYS = _load("toys")
_FAULTS = _load("faults")


@pytest.fixture
def toys() -> ModuleType:
    return _TOYS


@pytest.fixture
def faults() -> ModuleType:
    return _FAULTS


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return _TOYS.make_repository(tmp_path)


@pytest.fixture
def light_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publication checks digests only, because toy versions have nothing else, and no quality."""
    monkeypatch.setattr(publication, "verify_folder", _TOYS.verify_digests)
    monkeypatch.setattr(publication, "judge", _TOYS.no_judgement)


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are digested from now on."""
    seen: list[str] = []
    genuine = files.digest_file

    def digest(path: Path) -> str:
        seen.append(path.name)
        return genuine(path)

    monkeypatch.setattr(files, "digest_file", digest)
    return seen
