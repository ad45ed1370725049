"""Runs inside archex's environment: answers queries in one process. Prints one line of JSON.

Belongs here: calls of archex's public functions. Not here: anything of this project.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def queries(path: str, queries_file: str, passes: str) -> dict[str, object]:
    """Latencies in milliseconds of every query of every pass after the first, and the files of each answer."""
    from archex.api import query
    from archex.models import RepoSource

    source = RepoSource(local_path=path)
    texts = json.loads(Path(queries_file).read_text())
    answers = {text: [ranked.chunk.file_path for ranked in query(source, text).chunks] for text in texts}
    latencies = []
    for _ in range(int(passes)):
        for text in texts:
            started = time.perf_counter()
            query(source, text)
            latencies.append((time.perf_counter() - started) * 1e3)
    return {"milliseconds": latencies, "answers": answers}


if __name__ == "__main__":
    print(json.dumps(queries(*sys.argv[1:])))
