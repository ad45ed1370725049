"""One build without Dagster, in a process of its own: prints the seconds of each stage as JSON.

    python build_driver.py REPOSITORY DATA

Belongs here: what a cold build's stages cost. Not here: what is compared with it (`incremental`).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pipeline import planning
from pipeline.building import build_here
from pipeline.store.layout import create_store, write_origin
from pipeline.workers import Runtime, crew, worker_count


def main() -> None:
    """Plan, build, print."""
    started = time.perf_counter()
    store = create_store(Path(sys.argv[2]))
    repository, origin = planning.locate(store, Path(sys.argv[1]))
    decided = planning.plan(store, repository, origin, building=True)
    write_origin(repository, origin)
    with crew(worker_count()):
        runtime = Runtime(workers=worker_count(), shared=store.shared)
        built = build_here(store, decided, runtime=runtime, progress=lambda stage, settled: None)
    print(json.dumps({"stages": built.seconds, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()  # worker processes import this file again
