"""Whether the service is ready, as an orchestrator asks.

Belongs here: opening what is published, and handing on what `interfaces.observing` knows. Not here: judging.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import time

from pipeline.errors import CodeIntelError
from pipeline.interfaces.observing.readiness import readiness
from pipeline.interfaces.serving.service import Json, Service
from pipeline.store.versions import current_or_none


class Warming:
    """Opens what is published before somebody asks for it, in a thread of its own."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="warming", daemon=True).start()

    def opening(self) -> dict[str, float]:
        """For how many seconds each repository has been opening that cannot answer yet."""
        now = time.monotonic()
        with self._lock:
            return {name: now - since for name, since in self._since.items()}

    def _run(self) -> None:
        for repository in self._service.store.repositories()[: self._service.most_open]:
            if current_or_none(repository) is None:
                continue
            with self._lock:
                self._since[repository.name] = time.monotonic()
            # Whoever asks is told what is wrong with it.
            with contextlib.suppress(CodeIntelError, OSError), self._service.shelf.taken(repository.name) as volume:
                volume.warm()
            with self._lock:
                del self._since[repository.name]
        # What is loaded by now stays to the end: looking for garbage need not go through it each time.
        gc.collect()
        gc.freeze()


def ready(service: Service, warming: Warming) -> Json:
    """The answer of `/readyz`."""
    return readiness(service.store, opening=warming.opening()).as_json()
