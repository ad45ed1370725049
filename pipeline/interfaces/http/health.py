"""What an orchestrator and Prometheus ask: whether the service is ready, and its metrics.

Belongs here: handing on what `interfaces.observing` knows. Not here: judging or counting.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import threading
import time

from pipeline.errors import CodeIntelError
from pipeline.interfaces.serving.service import Json, Service
from pipeline.store.versions import current_or_none, read_manifest


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
    opening = warming.opening()
    with contextlib.suppress(ImportError):
        module = importlib.import_module("pipeline.interfaces.observing.readiness")
        found: Json = module.readiness(service.store, opening=opening).as_json()
        return found
    rows = []
    for repository in service.store.repositories():
        current, state, reason = current_or_none(repository), "ready", ""
        if current is None:
            state, reason = "missing", "Nothing is published; run `indexctl build`."
        elif repository.name in opening:
            state, reason = "building", f"{current} is being opened."
        else:
            try:
                read_manifest(repository.versions / current)
            except CodeIntelError as error:
                state, reason = "broken", str(error)
        rows.append({"repo": repository.name, "state": state, "reason": reason, "answers": state == "ready"})
    any_ready = any(row["answers"] for row in rows)
    return {"ready": any_ready, "reason": "" if any_ready else "No repository answers.", "repositories": rows}


def metrics(service: Service) -> bytes:
    """The answer of `/metrics`."""
    with contextlib.suppress(ImportError):
        module = importlib.import_module("pipeline.interfaces.observing.prometheus")
        found: bytes = module.metrics_text()
        return found
    lines = (
        "# HELP codeintel_open_versions Versions that are open.",
        "# TYPE codeintel_open_versions gauge",
        f"codeintel_open_versions {len(service.shelf.open_versions())}",
        "# HELP codeintel_flips_total Versions that took the place of others.",
        "# TYPE codeintel_flips_total counter",
        f"codeintel_flips_total {service.shelf.flips}",
    )
    return ("\n".join(lines) + "\n").encode()
