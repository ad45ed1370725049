"""The service as a process of its own, asked over real sockets."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interfaces.transport.conftest import Served, fronted

Serve = Callable[..., contextlib.AbstractContextManager[Served]]


@contextlib.contextmanager
def service(store: Path, log: Path, *options: str, **limits: float) -> Iterator[Served]:
    """The service over a store, which answers where it has anything to answer from."""
    with fronted("serve", store, log, *options, **limits) as served:
        until = time.monotonic() + 60
        published = any(store.glob("*/CURRENT"))
        while published and served.get("/healthz").status != 200 and time.monotonic() < until:
            time.sleep(0.05)
        yield served


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Run the service over a store: `with serve(store, "--threads", "3") as served`, or with limits by name."""

    def started(store: Path, *options: str, **limits: float) -> contextlib.AbstractContextManager[Served]:
        return service(store, tmp_path / "serve.log", *options, **limits)

    return started


@pytest.fixture(scope="module")
def served(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service over the demo repository, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(built.store, folder / "store", symlinks=True)
    with service(folder / "store", folder / "serve.log") as served:
        until = time.monotonic() + 60
        while served.get("/readyz").status != 200:  # It opens what is published.
            assert time.monotonic() < until
            time.sleep(0.05)
        yield served


@pytest.fixture(scope="module")
def hurried(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that waits for nobody, and takes few connections."""
    folder = tmp_path_factory.mktemp("hurried")
    limits = {"head_seconds": 0.4, "body_seconds": 0.4, "keep_alive": 1, "connections": 20}
    with service(built.store, folder / "serve.log", **limits) as served:
        yield served
