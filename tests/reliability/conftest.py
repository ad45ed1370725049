"""A small repository in a store, and a way to kill or fail a process at any system call that changes a store."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A small repository, and builds of it without Dagster."""
    specification = importlib.util.spec_from_file_location("engine", HERE / "engine.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    for name, value in module.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return module


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`faults.c`, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    if not sys.platform.startswith("linux"):
        pytest.skip("system calls are intercepted by seccomp, which is Linux's")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "faults.c")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"the compiler cannot make the shim: {made.stderr.strip()[:200]}")
    child = os.fork()
    if child == 0:
        os._exit(ctypes.CDLL(str(library)).arm(os.fsencode(library.parent), 0, 0, -1))
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        pytest.skip(f"this system lets no process filter its own system calls: {os.strerror(abs(code))}")
    return library


Points = Callable[[str, str, Path, int], tuple[dict[str, Any], list[dict[str, Any]]]]


@pytest.fixture
def points(shim: Path) -> Points:
    """`points(scenario, fault, folder, most)`: what an undisturbed run comes to, and what a fault at each point does."""

    def run(scenario: str, fault: str, folder: Path, most: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        ran = subprocess.run(
            [sys.executable, str(HERE / "crashes.py"), scenario, fault, str(shim), str(folder), str(most)],
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-4000:]
        first, *lines, last = map(json.loads, ran.stdout.splitlines())
        assert last == {"unchanged": True}, "a file of an object or of a version was opened for writing"
        return first, lines

    return run
