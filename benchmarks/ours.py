"""This project, measured from outside: through `indexctl`, as people run it.

Belongs here: builds, searches and the comparison of two stores. Not here: what the figures must be (`main_job`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import corpus
from figures import Figures
from measure import MeasuredProcessError, Run, environment, file_bytes, run

SYMBOLS_BY_SYNTAX = "--no-scip"
_ENGINE = {"CODEINTEL_CST": "false", "CODEINTEL_EVAL_QUERIES": "0"}
"""Peers run no SCIP indexer and no libcst, and do not measure themselves: neither do we where we are compared with them."""
_WHOLE = {"CODEINTEL_CST": "true", "CODEINTEL_EVAL_QUERIES": "400"}
COLD_QUERIES = 5
"""Cold search processes a round."""
_DRIVER = Path(__file__).parent / "drivers" / "codeintel_driver.py"
_ENTRANCE = "import sys; from pipeline.interfaces.main import main; sys.argv[0] = 'indexctl'; sys.exit(main())"


class Ours:
    """`indexctl` of the environment that runs this script, with a fresh store each round; the first two stores are kept."""

    def __init__(self, work: Path, source: Path) -> None:
        self.figures = Figures("codeintel")
        self._source = source
        self._queries = work / "queries.json"
        self._queries.write_text(json.dumps(corpus.QUERIES))
        self._env = environment()
        self._home = work / "stores"
        shutil.rmtree(self._home, ignore_errors=True)
        self.stores: list[Path] = []

    def _indexctl(self, store: Path, *arguments: str | Path, **settings: str) -> Run:
        command = [Path(sys.executable).parent / "indexctl", *arguments, "--json", "--data", store]
        return run(command, env=self._env | _ENGINE | settings)

    def round(self, *, warm_up: bool = False) -> None:
        """One cold build into a new store, the same again, and cold searches."""
        store = self._home / ("warm-up" if warm_up else f"round-{len(self.stores) + 1}")
        store.mkdir(parents=True)
        figures = self.figures
        measured = self._indexctl(store, "build", self._source, SYMBOLS_BY_SYNTAX)
        said = json.loads(measured.stdout)
        if not said["published"]:
            raise MeasuredProcessError(f"The build published nothing: {said['problems']}")
        figures.add_build(measured)
        figures.build_inner.add(said["seconds"])
        figures.store_mib.add(file_bytes(store) / 2**20)
        same = store.with_name("same-files")
        measured = self._indexctl(same, "build", self._source, SYMBOLS_BY_SYNTAX, CODEINTEL_INCLUDE="*.py")
        figures.build_same.add(measured.wall)
        shutil.rmtree(same)
        if not warm_up:
            figures.build_full.add(self._indexctl(same, "build", self._source, **_WHOLE).wall)
            shutil.rmtree(same)
        measured = self._indexctl(store, "build", self._source, SYMBOLS_BY_SYNTAX)
        if built := json.loads(measured.stdout)["built"]:
            raise MeasuredProcessError(f"A second build of the same tree built {', '.join(built)}.")
        figures.again.add(measured.wall)
        for _ in range(COLD_QUERIES):
            measured = self._indexctl(store, "search", corpus.QUERIES[0])
            figures.cold_query.add(measured.wall)
            figures.cold_query_peak.add(measured.peak)
        self._count(store)
        if warm_up:
            shutil.rmtree(store)
            self.figures = Figures(figures.label)
            return
        self.stores.append(store)
        if len(self.stores) > 2:
            shutil.rmtree(store)

    def _count(self, store: Path) -> None:
        (status,) = json.loads(self._indexctl(store, "status").stdout)["repos"]
        self.figures.chunks.add(status["chunks"])
        said = self._indexctl(store, "sql", "SELECT count(*) AS n FROM files WHERE status = 'indexed'").stdout
        rows = json.loads(said) if said.lstrip().startswith("[") else [json.loads(line) for line in said.splitlines()]
        self.figures.files.add(rows[0]["n"])

    def imports_of_a_second_build(self) -> list[str]:
        """Names of the Dagster modules that a build with nothing to do imports: none, as it should be."""
        command: list[str | Path] = [
            sys.executable,
            "-X",
            "importtime",
            "-c",
            _ENTRANCE,
            "build",
            self._source,
            SYMBOLS_BY_SYNTAX,
            "--json",
        ]
        log = run([*command, "--data", self.stores[0]], env=self._env | _ENGINE).stderr
        names = [line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")]
        if "pipeline" not in names:
            raise MeasuredProcessError("The import log of the second build names no module of this project.")
        return [name for name in names if name.partition(".")[0].startswith("dagster")]

    def queries(self, passes: int) -> None:
        """Warm queries, and the places of the expected files in what `indexctl search` answers."""
        self.figures.warm_query.values.extend(self._warm(passes))
        answers = {}
        for wanted in corpus.EXPECTATIONS:
            found = json.loads(self._indexctl(self.stores[0], "search", wanted.query, "-k", "20").stdout)
            answers[wanted.query] = [result["uri"] for result in found["results"]]
        self.figures.add_answers(answers)

    def _warm(self, passes: int) -> list[float]:
        """Milliseconds of single queries in one process that keeps the version open, as the servers do."""
        measured = run([sys.executable, _DRIVER, self.stores[0], self._queries, str(passes)], env=self._env)
        latencies: list[float] = json.loads(measured.stdout)["milliseconds"]
        return latencies

    def differences(self) -> tuple[list[str], list[str]]:
        """(assets compared, what differs) between the objects of the first two stores."""
        first, second = (_objects(store) for store in self.stores[:2])
        problems = [f"{name}: only in one store" for name in sorted(first.keys() ^ second.keys())]
        problems += [f"{name}: other bytes" for name in sorted(first.keys() & second.keys()) if first[name] != second[name]]
        return sorted({name.partition("/")[0] for name in first}), problems


def _objects(store: Path) -> dict[str, dict[str, str]]:
    """`<asset>/<key>` -> the digests of its files by name."""
    (folder,) = store.glob("*/objects")
    return {f"{entry.parent.name}/{entry.name}": _digests(entry) for entry in sorted(folder.glob("*/*")) if entry.is_dir()}


def _digests(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
