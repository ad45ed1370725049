"""A builder in another process."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from pipeline.store.layout import Repository

_HOLD = """
import sys
from pathlib import Path
from pipeline.store.layout import Repository
from pipeline.store.locks import builder
with builder(Repository(sys.argv[1], Path(sys.argv[2]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere() -> Callable[[Repository], AbstractContextManager[None]]:
    """Hold a repository's builder lock in another process while the block lasts."""

    @contextlib.contextmanager
    def hold(repository: Repository) -> Iterator[None]:
        command = [sys.executable, "-c", _HOLD, repository.name, str(repository.path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin and process.stdout
            assert process.stdout.readline() == b"held\n"
            try:
                yield
            finally:
                process.stdin.close()

    return hold
