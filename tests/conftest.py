"""The command and small indexed worlds, for the tests that go the whole way.

Running the graph costs seconds, so one store is built a session; a test that changes anything works on a copy of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pyarrow as pa
import pytest

from pipeline.interfaces.main import main

# There is a worker a core: libraries that start a thread a core as well only wait for each other. Tests of threads set theirs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
pa.set_cpu_count(1)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.out)

    @property
    def jsons(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Command = Callable[..., Ran]
DEMO: Mapping[str, str] = {
    ".gitignore": "ignored/\n*.tmp\n",
    "README.md": "# Harbour\n\nA toy that keeps ships.\n\n## Fees\n\nHow the berth fee is worked out.\n",
    "harbour/__init__.py": "",
    "harbour/ships.py": (
        '"""Ships and their papers."""\n\n\nclass Ship:\n    """A vessel that may ask for a berth."""\n\n'
        "    def __init__(self, name: str, length: float) -> None:\n        self.name = name\n        self.length = length\n\n"
        "    def is_seaworthy(self) -> bool:\n"
        '        """Whether the hull inspection is younger than a year."""\n        return self.length > 0\n'
    ),
    "harbour/fees.py": (
        '"""Money."""\n\n\ndef berth_fee(length: float, nights: int) -> float:\n'
        '    """What a night at the quay costs, with the discount for long stays."""\n'
        "    discount = 0.9 if nights > 7 else 1.0\n    return length * nights * 4.2 * discount\n"
    ),
    "harbour/tides.py": (
        '"""High and low water."""\n\n\ndef next_high_water(hours: float) -> float:\n'
        '    """Predict the moment of the next high tide."""\n    return hours + 12.42\n'
    ),
    "web/app.js": "// Shows the quay.\nfunction renderQuay(ships) {\n  return ships.map((ship) => ship.name).join(', ');\n}\n",
    "config.toml": '[harbour]\nname = "Demo"\nberths = 12\n',
    "ignored/secret.py": "SECRET = 'not indexed'\n",
}


def _run(*arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    code = 0
    before = Path.cwd()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, {**clean, **(env or {})}, clear=True))
        stack.enter_context(mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        if cwd is not None:
            stack.callback(os.chdir, before)
            os.chdir(cwd)
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return Ran(code, *texts)


@pytest.fixture(scope="session")
def indexctl() -> Command:
    """Run the command in this process: `indexctl("build", path, "--data", store)`, with `cwd`, `stdin` and `env`."""
    return _run


@pytest.fixture(scope="session")
def git() -> Callable[..., str]:
    """Run git in a folder, as somebody, at a fixed time."""

    def run(folder: Path, *arguments: str) -> str:
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"), ("DATE", "2024-01-02T03:04:05Z"))
        }
        environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-c", "init.defaultBranch=main", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    return run


@pytest.fixture
def upstream(tmp_path: Path, git: Callable[..., str]) -> Path:
    """A git repository of one file and one commit, for others to be made of it. A test may change it."""
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "a.py").write_text("def first(): pass\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "First")
    return folder


@pytest.fixture(autouse=True)
def _nothing_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build in a test starts no process that outlives the test."""
    monkeypatch.setattr("pipeline.interfaces.run.leave_running", lambda command, log: None)


@pytest.fixture(scope="session", autouse=True)
def _no_fsync() -> Iterator[None]:
    """No test can see whether bytes reached the disk, and waiting for it takes long; `test_files.py` checks the calls."""
    with mock.patch.object(os, "fsync", lambda descriptor: None):
        yield


@pytest.fixture(scope="session", autouse=True)
def _every_report_is_declared() -> Iterator[None]:
    """What the engine reports of itself in any test has the labels, and values of labels, that are declared."""
    from pipeline import instruments

    wrong: set[str] = set()

    def check(metric: instruments.Metric, value: float, labels: Mapping[str, str]) -> None:
        wrong.update(
            f"{metric.name}: {name}={given}"
            for name, given in labels.items()
            if metric.labels[name] and given not in metric.labels[name] and not given.startswith(("made up", "a made-up"))
        )

    with instruments.listen(check):
        yield
    assert not wrong


@dataclass(frozen=True)
class World:
    """A repository and the store that it was built into."""

    repo: Path
    store: Path
    _run: Command

    def __call__(self, *arguments: str | Path, **keywords: Any) -> Ran:
        """Run a command on the store."""
        command, *others = arguments
        return self._run(command, "--data", self.store, *others, **keywords)

    def build(self, *arguments: str | Path, path: Path | None = None, **keywords: Any) -> Ran:
        """Build without a Dagster instance, and with JSON."""
        return self(*("build", path or self.repo, "--json", "--ephemeral", *arguments), **keywords)

    @property
    def home(self) -> Path:
        """The repository's folder in the store."""
        return self.store / "demo"

    @property
    def version(self) -> str:
        """What CURRENT names."""
        return (self.home / "CURRENT").read_text().strip()

    @property
    def published(self) -> Path:
        """The folder of the published version."""
        return self.home / "versions" / self.version


def _write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, git: Callable[..., str]) -> Path:
    """A git repository of a few languages with one commit. Not to be changed."""
    root = tmp_path_factory.mktemp("origin") / "demo"
    _write(root, DEMO)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "First")
    return root


@pytest.fixture(scope="session")
def built(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The demo repository, built once. Not to be changed: `world` is a copy."""
    world = World(demo, tmp_path_factory.mktemp("stores") / "store", _run)
    done = world.build()
    assert done.code == 0, done.err
    return world


@pytest.fixture
def world(built: World, tmp_path: Path) -> World:
    """A copy of repository and store that a test may change."""
    copy = World(tmp_path / "demo", tmp_path / "store", _run)
    shutil.copytree(built.repo, copy.repo, symlinks=True)
    shutil.copytree(built.store, copy.store, symlinks=True)
    origin = copy.home / "repository.json"
    origin.write_text(origin.read_text().replace(str(built.repo), str(copy.repo)))
    return copy


Ranks = Mapping[str, int | None]


def _evaluate(folder: Path, ranks: Ranks, **facts: Any) -> Path:
    """Write an evaluation as the stages would: `ranks` by query, `LABEL/NAME` or `LABEL/NAME!` for a masked one."""
    from pipeline.evaluation import document as documents
    from pipeline.evaluation.metrics import Scores
    from pipeline.files import canonical_json
    from pipeline.schemas import Coverage, EvalMetrics
    from pipeline.tables import write_parquet

    def scored(rank: int | None, k: int) -> Scores:
        if rank is None or rank > k:
            return Scores(0.0, 0.0, 0.0, 0.0, rank)
        return Scores(1.0, 1.0, 1 / rank, 1 / math.log2(1 + rank), rank)

    folder.mkdir(parents=True, exist_ok=True)
    k = facts.pop("k", 10)
    rows = [
        {
            "qid": qid, "query": f"where is {qid}", "label": qid.split("/")[0], "masked": qid.endswith("!"), "uri": f"{qid}.py",
            "symbol": qid, "lang": "python", "channel": channel, "state": "answered", **dataclasses.asdict(scored(shown, k)),
        }
        for qid, rank in ranks.items()
        # What one channel finds alone is another matter.
        for channel, shown in (("dense", 1), ("fused", rank))
    ]  # fmt: skip
    write_parquet(folder / EvalMetrics.DETAILS, pa.Table.from_pylist(rows, schema=EvalMetrics.details), EvalMetrics.tag())
    definitions, found = facts.pop("definitions", (100, 100)), facts.pop("found", (100, 100))
    covered = documents.CoverageDocument(
        version=documents.FORMAT, k=k, files=_share((9, 9)), bytes=_share((9, 9)), definitions=_share(definitions),
        found=_share(found), asked=found[1], skipped={}, missed=facts.pop("missed", {}),
        by_language={}, by_kind={}, by_channel={},
    )  # fmt: skip
    (folder / Coverage.FILE).write_bytes(canonical_json(msgspec.to_builtins(covered)))
    plain: dict[str, Any] = {
        "version": documents.FORMAT, "method": documents.METHOD, "state": "measured", "k": k, "queries": len(ranks),
        "asked": len(ranks), "since": {},
        "fused": None, "by_half": {}, "by_label": {}, "by_language": {}, "by_module": {}, "channels": {}, "nearest": None,
        "tokens": None, "agreement": None, "twin": None, "broken": {},
    }  # fmt: skip
    (folder / EvalMetrics.FILE).write_bytes(canonical_json(msgspec.to_builtins(documents.MetricsDocument(**plain | facts))))
    return folder


def _share(pair: tuple[int, int]) -> Any:
    from pipeline.evaluation.document import Share

    return Share(part=pair[0], whole=pair[1])


@pytest.fixture(scope="session")
def evaluate() -> Callable[..., Path]:
    """Write the files of `eval_metrics` and `coverage` by hand: `evaluate(folder, {"name/a": 1, "doc/b!": None}, **facts)`."""
    return _evaluate


Sabotage = Callable[[Any, Callable[[Mapping[str, Path]], None]], None]


@pytest.fixture
def sabotage() -> Iterator[Sabotage]:
    """Change what a stage wrote before it is sealed, so that the store believes it: `sabotage(STAGE, change)`.

    `change` gets the folders of the stage's outputs by asset. Objects that exist already are reused as they are.
    """
    honest: list[tuple[Any, Any]] = []

    def spoil(stage: Any, change: Callable[[Mapping[str, Path]], None]) -> None:
        function = stage.function
        outputs = {name: kind.asset for name, kind in stage.outputs.items()}

        @functools.wraps(function)
        def spoilt(**arguments: Any) -> Any:
            facts = function(**arguments)
            change({asset: arguments[name].path for name, asset in outputs.items()})
            return facts

        honest.append((stage, function))
        object.__setattr__(stage, "function", spoilt)

    yield spoil
    for stage, function in reversed(honest):
        object.__setattr__(stage, "function", function)
