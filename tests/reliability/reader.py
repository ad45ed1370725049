"""A process that searches a store until a file appears: each time the published version as it finds it, some for longer.

A script: `reader.py STORE STOP` prints what it saw as one JSON document: answers by version, errors, and open files before and
after.

Not a test module: `test_flips.py` starts it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import crashes
import engine

from pipeline.catalog.views import connect
from pipeline.config import Settings
from pipeline.search.engine import Searcher, open_searcher
from pipeline.store.layout import Repository
from pipeline.store.versions import open_version


def said(searcher: Searcher) -> dict[str, Any]:
    """Answers to all queries, and what channels were broken."""
    given = [searcher.answer(query, 5) for query in crashes.QUERIES]
    broken = {
        name: one.reason for answer in given for name, one in answer.channels.items() if one.as_json()["state"] == "broken"
    }
    return {"hits": [[hit.id for hit in answer.hits] for answer in given], "broken": broken}


def rows(repository: Repository) -> tuple[str, int]:
    """How many chunks DuckDB counts, in which version."""
    with open_version(repository) as version:
        folder = version.ensure("chunks", "chunk_symbols", "faiss_idmap")
        with connect(folder, memory_limit="256MB", threads=1) as connection:
            return version.name, connection.execute("SELECT count(*) FROM chunk_rows").fetchone()[0]


def handles() -> int:
    """Files that this process has open."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def main(store: Path, stop: Path) -> None:
    """Search until told to stop."""
    os.environ.update(engine.ENVIRONMENT)
    repository = engine.repository_in(store)
    seen: dict[str, dict[str, int]] = {}
    counted: dict[str, list[int]] = {}
    errors: list[str] = []
    before = rounds = 0
    while not stop.exists() or rounds < 3:
        try:
            with open_searcher(repository, Settings()) as searcher:
                # Every third one stays on its version while others flip and collect.
                for _ in range(5 if rounds % 3 == 0 else 1):
                    answer = json.dumps(said(searcher))
                    of_version = seen.setdefault(searcher.version.name, {})
                    of_version[answer] = of_version.get(answer, 0) + 1
            if rounds % 5 == 0:
                name, count = rows(repository)
                counted.setdefault(name, []).append(count)
        except Exception:
            errors.append(traceback.format_exc())
        rounds += 1
        if rounds == 2:
            before = handles()
            print("ready", flush=True)
    print(json.dumps({"seen": seen, "counted": counted, "errors": errors, "rounds": rounds, "handles": [before, handles()]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
