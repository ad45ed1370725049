"""Answers queries in one process through the engine's own entrance. Prints one line of JSON.

Belongs here: calls of `pipeline.search`. Not here: the command, which `ours` runs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pipeline.search.engine import open_searcher
from pipeline.store.layout import open_store, read_origin, settings_of


def queries(data: str, queries_file: str, passes: str) -> dict[str, object]:
    """Latencies in milliseconds of every query of every pass after the first."""
    store = open_store(Path(data))
    (repository,) = store.repositories()
    texts = json.loads(Path(queries_file).read_text())
    latencies = []
    with open_searcher(repository, settings_of(store, read_origin(repository))) as searcher:
        for text in texts:
            searcher.search(text, 10)
        for _ in range(int(passes)):
            for text in texts:
                started = time.perf_counter()
                searcher.search(text, 10)
                latencies.append((time.perf_counter() - started) * 1e3)
    return {"milliseconds": latencies}


if __name__ == "__main__":
    print(json.dumps(queries(*sys.argv[1:])))
