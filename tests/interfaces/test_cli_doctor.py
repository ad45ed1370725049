"""`indexctl doctor`: what is really broken is found and told with a way out; what is healthy is let be."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ScipSettings
from pipeline.interfaces.examining import installation
from pipeline.interfaces.examining.dagster_home import examine_home
from pipeline.interfaces.examining.findings import Finding, Level
from pipeline.interfaces.examining.installation import examine_indexers
from pipeline.interfaces.examining.stores import examine_store
from pipeline.store import unreported
from pipeline.store.layout import Store, create_store, open_store
from pipeline.store.locks import builder

ROOT = Path(__file__).parents[2]
SCHEMA = "29b539ebc72a"


def _findings(world: Any, **keywords: Any) -> list[dict[str, Any]]:
    done = world("doctor", "--json", **keywords)
    found: list[dict[str, Any]] = done.json["findings"]
    assert done.json["ok"] == (done.code == 0) == all(one["level"] != "problem" for one in found)
    return found


def _only(world: Any, check: str, **keywords: Any) -> dict[str, Any]:
    """The one finding of a check that is not fine."""
    [one] = [one for one in _findings(world, **keywords) if one["check"] == check and one["level"] != "ok"]
    return one


def _program(tmp_path: Path, status: int) -> Path:
    """A program that says nothing and ends with a status."""
    program = tmp_path / "scip-typescript"
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o755)
    return program


def test_a_healthy_store_has_nothing_that_is_wrong_or_could_be_better(built: Any, tmp_path: Path) -> None:
    done = built("doctor", env={"CODEINTEL_SCIP_TYPESCRIPT": str(_program(tmp_path, 0))})
    assert done.code == 0
    assert f"{built.version} is published" in done.out and "✗" not in done.out and "!" not in done.out
    assert done.out.rstrip().endswith("everything is as it should be")
    assert {one["area"] for one in _findings(built)} == {"installed", "indexers", "settings", "store", "dagster"}


def test_it_changes_nothing_and_needs_no_dagster(built: Any) -> None:
    def seen() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in built.store.rglob("*")}

    before = seen()
    code = (
        "import sys; from pipeline.interfaces.main import main\n"
        "try: main(['doctor', '--json', '--data', sys.argv[1]])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(sorted({'dagster', 'prometheus_client', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, built.store], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert seen() == before


def test_no_store_yet_is_no_fault_and_says_how_to_begin(indexctl: Any, tmp_path: Path) -> None:
    done = indexctl("doctor", "--data", tmp_path / "none")
    assert done.code == 0 and "indexctl build PATH" in done.out
    assert not (tmp_path / "none").exists()


def test_a_store_of_a_newer_format_is_a_problem(world: Any) -> None:
    (world.store / "store.json").write_text('{"format": 99}')
    assert "format 99" in _only(world, "place")["text"]


# --- what is installed ---


def _elsewhere(distributions: dict[str, str], tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """`doctor --json` in a process that finds these distributions installed first."""
    for name, version in distributions.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pipeline.interfaces.main import main; main(sys.argv[2:])"
    command = [sys.executable, "-c", code, tmp_path, "doctor", "--json", "--data", tmp_path / "none", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (0 if said["ok"] else 1)
    return {one["check"]: one for one in said["findings"]}


def test_both_packages_of_faiss_are_a_conflict(tmp_path: Path) -> None:
    found = _elsewhere({"faiss-cpu": "1.15.1", "faiss-gpu": "1.15.1"}, tmp_path)["faiss"]
    assert (
        found["level"] == "problem" and "Both faiss-cpu and faiss-gpu" in found["text"] and "fresh environment" in found["hint"]
    )


def test_a_package_of_a_version_that_is_not_good_for_it_is_a_problem(tmp_path: Path) -> None:
    found = _elsewhere({"duckdb": "1.0.0"}, tmp_path)["packages"]
    assert found["level"] == "problem" and "duckdb is 1.0.0" in found["text"]


def test_faiss_is_told_with_its_options_and_a_gpu_that_is_off_with_the_reason(built: Any) -> None:
    found = {one["check"]: one for one in _findings(built)}
    assert "OPTIMIZE" in found["faiss"]["facts"]["options"] or found["faiss"]["facts"]["options"]
    assert found["GPU"]["level"] == "ok" or "off: " in found["GPU"]["text"]


@pytest.mark.skipif("GPU" in installation._gpu(Path("/nowhere")).text, reason="FAISS can use a GPU here")
def test_a_device_that_faiss_cannot_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    found = installation._gpu(tmp_path)
    assert "there is a device" in found.text or "lists a device" in found.text
    assert "gpu" in found.hint or "nvidia-smi" in found.hint


def _indexers(settings: ScipSettings, *languages: str) -> dict[str, Finding]:
    return {one.check: one for one in examine_indexers(settings, frozenset(languages))}


def test_an_indexer_that_is_named_and_not_there_is_a_problem(world: Any) -> None:
    found = _only(world, "Python", env={"CODEINTEL_SCIP_PYTHON": "/no/such/scip-python"})
    assert found["level"] == "problem" and "/no/such/scip-python" in found["text"]


def test_an_indexer_that_does_not_run_is_a_problem(tmp_path: Path) -> None:
    program = _program(tmp_path, 3)
    found = _indexers(ScipSettings(scip_typescript=str(program)))["TypeScript"]
    assert found.level is Level.PROBLEM and "status 3" in found.text


def test_a_missing_indexer_matters_only_where_its_language_is_indexed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _indexers(ScipSettings(), "python")["TypeScript"].level is Level.NOTE
    found = _indexers(ScipSettings(), "javascript")["TypeScript"]
    assert found.level is Level.WARNING and "npm install" in found.hint
    assert _indexers(ScipSettings(), "python")["Python"].level is Level.OK  # It lies beside the interpreter.


# --- settings ---


def test_a_setting_that_is_none_is_told_once_with_the_one_that_was_meant(world: Any) -> None:
    (world.store / "codeintel.toml").write_text("chunk_budjet = 900\n")
    found = [one for one in _findings(world) if "chunk_budjet" in one["text"]]
    assert [(one["level"], one["hint"]) for one in found] == [("problem", "Did you mean `chunk_budget`?")]


def test_a_variable_that_is_no_setting_is_told_with_the_one_that_was_meant(world: Any) -> None:
    found = _only(world, "variable", env={"CODEINTEL_CHUNK_BUDJET": "900", "CODEINTEL_SOMEBODY_ELSES": "1"})
    assert (found["level"], found["hint"]) == ("warning", "Did you mean CODEINTEL_CHUNK_BUDGET?")


def test_a_repository_that_sets_what_it_may_not_is_a_problem_of_that_repository(world: Any) -> None:
    (world.repo / "codeintel.toml").write_text('scip_python = "/bin/sh"\n')
    [found] = [one for one in _findings(world) if one["level"] == "problem"]
    assert (found["area"], found["repo"]) == ("settings", "demo") and "scip_python" in found["text"]


# --- the store ---


def _damaged_current(world: Any) -> None:
    (world.home / "CURRENT").write_text("junk\n")


def _missing_file(world: Any) -> None:
    (world.published / "faiss.index").unlink()


def _no_embedder(world: Any) -> None:
    (world.store / "codeintel.toml").write_text('embedder = "http"\nembed_url = "http://127.0.0.1:9/v1"\nembed_model = "m"\n')


def _leftovers(world: Any) -> None:
    folder = world.home / "objects" / "chunks" / ".tmp-1-abcdef"
    folder.mkdir()
    (folder / "part").write_bytes(bytes(4000))


def _ref_to_nothing(world: Any) -> None:
    (world.home / "refs" / "modules").write_text("0" * 32 + "\n")


def _disagreeing_refs(world: Any) -> None:
    # What chunks settled on, made from another snapshot than the one that is there now.
    (world.repo / "harbour" / "tides.py").write_text("def low_water() -> int:\n    return 1\n")
    old = (world.home / "refs" / "chunks").read_text()
    assert world.build().code == 0
    (world.home / "refs" / "chunks").write_text(old)


def _old_version_cut(world: Any) -> None:
    folder = world.home / "versions" / "v-0123456789abcdef"
    folder.mkdir()
    (folder / "manifest.json").write_text("{")


def _torn_report(world: Any) -> None:
    (world.home / "unreported").mkdir(exist_ok=True)
    (world.home / "unreported" / "00000000000000000001-v-0123456789abcdef.json").write_text("{")


def _many_reports(world: Any) -> None:
    build = unreported.Unreported(
        format=1, version=world.version, previous=None, flipped=True, keys={}, reused=[], started=0.0, ended=0.0, seconds={},
        findings={}, allowed={},
    )  # fmt: skip
    for _ in range(12):
        unreported.write(open_store(world.store).existing("demo"), build)


def _torn_pins(world: Any) -> None:
    (world.home / "pins.json").write_text("{")


def _foreign_catalog(world: Any) -> None:
    (world.home / "catalog.duckdb").write_bytes(b"no database" * 100)


def _folder_for_a_ref(world: Any) -> None:
    (world.home / "refs" / "modules").unlink()
    (world.home / "refs" / "modules").mkdir()


def _folder_for_the_lock(world: Any) -> None:
    (world.home / "builder.lock").unlink()
    (world.home / "builder.lock").mkdir()


def _gone_origin(world: Any) -> None:
    shutil.rmtree(world.repo)


def _orphan(world: Any) -> None:
    shutil.copytree(world.home, world.store / "once", symlinks=True)
    (world.store / "once" / "repository.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "check", "level", "text", "hint"),
    [
        (_damaged_current, "published", "problem", "does not name a version", "indexctl verify"),
        (_missing_file, "published", "problem", "lacks faiss.index", "indexctl build"),
        (_no_embedder, "embedder", "problem", "cannot be embedded", ""),
        (_leftovers, "leftovers", "warning", "1 leftover", "indexctl build"),
        (_ref_to_nothing, "refs", "warning", "what modules settled on is not in the store", "indexctl build"),
        (_disagreeing_refs, "refs", "warning", "settled on what was made from other inputs", "indexctl build"),
        (_old_version_cut, "versions", "warning", "v-0123456789abcdef cannot be read", "indexctl gc"),
        (_torn_report, "unreported", "warning", "cannot be read", "Remove"),
        (_many_reports, "unreported", "warning", "12 builds wait", "reporting.log"),
        (_torn_pins, "pins", "problem", "pins.json", "deleted"),
        (_foreign_catalog, "catalog", "warning", "catalog.duckdb", "idmap views"),
        (_folder_for_a_ref, "refs", "problem", "cannot be looked at", "in the way"),
        (_folder_for_the_lock, "lock", "problem", "builder.lock is a folder", "in the way"),
        (_gone_origin, "origin", "warning", "is gone", "--repo demo"),
        (_orphan, "orphan", "warning", "belongs to no repository", "Remove"),
    ],
)
def test_what_is_wrong_with_a_repository_is_found(world: Any, spoil: Any, check: str, level: str, text: str, hint: str) -> None:
    spoil(world)
    found = [one for one in _findings(world) if one["check"] == check and one["level"] == level and text in one["text"]]
    assert found, [one for one in _findings(world) if one["level"] != "ok"]
    assert all(hint in one["hint"] for one in found)


def test_nothing_published_is_said_with_how_to_publish(world: Any) -> None:
    (world.home / "CURRENT").unlink()
    assert _only(world, "published")["hint"] == "Run `indexctl build`."


def test_a_build_that_goes_on_is_told_and_one_that_goes_on_for_hours_is_warned_of(world: Any) -> None:
    with builder(open_store(world.store).existing("demo")):
        assert (found := _only(world, "lock"))["level"] == "note" and f"process {os.getpid()}" in found["text"]
        os.utime(world.home / "builder.lock", (0, 0))
        assert _only(world, "lock")["level"] == "warning"


@pytest.mark.parametrize(("free", "level"), [(10 << 20, Level.PROBLEM), (800 << 20, Level.WARNING), (1 << 40, Level.OK)])
def test_a_disk_that_is_about_to_be_full_is_told_before_it_is(built: Any, free: int, level: Level) -> None:
    found: list[Finding] = []
    examine_store(built.store, found, free=lambda path: free)
    [disk] = [one for one in found if one.check == "disk"]
    assert disk.level is level and bool(disk.hint) == (level is not Level.OK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_store_that_this_user_cannot_write_is_told() -> None:
    root = Path(tempfile.gettempdir()) / f"codeintel-doctor-{os.getpid()}"
    root.mkdir(mode=0o755)
    try:
        create_store(root / "store")
        found: list[Finding] = []
        os.seteuid(65534)
        try:
            examine_store(root / "store", found)
        finally:
            os.seteuid(0)
    finally:
        shutil.rmtree(root)
    assert [one.level for one in found if one.check == "writable"] == [Level.WARNING]


def test_many_healthy_repositories_are_counted_and_a_broken_one_among_them_is_shown(world: Any) -> None:
    for number in range(12):
        shutil.copytree(world.home, world.store / f"copy{number}", symlinks=True)
        origin = world.store / f"copy{number}" / "repository.json"
        origin.write_text(origin.read_text().replace('"name": "demo"', f'"name": "copy{number}"'))
    (world.store / "copy7" / "CURRENT").write_text("junk\n")
    done = world("doctor")
    assert done.code == 1 and "and 4 more, of which nothing is to be said" in done.out
    assert "✗ copy7" in done.out and "1 problem" in done.out.splitlines()[-1]


def test_no_name_in_a_store_drives_the_terminal(world: Any) -> None:
    (world.store / "\x1b[2Jevil\nforged").mkdir()
    out = world("doctor").out
    assert "\x1b" not in out and not any(line.startswith("forged") for line in out.splitlines())


def test_a_terminal_shows_marks_and_hanging_lines(world: Any, terminal: Any) -> None:
    _damaged_current(world)
    shown = terminal(70, "doctor", "--data", world.store)
    assert shown.code == 1 and all(len(line) <= 70 for line in shown.lines)
    assert any(line.startswith("  ✗ demo") for line in shown.lines) and "What to do" in shown.lines


# --- Dagster's home ---


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A Dagster home as Dagster makes it, as far as it is looked at, in an empty store."""
    folder = create_store(tmp_path / "store").root / "_dagster"
    (folder / "history" / "runs").mkdir(parents=True)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    _execute(folder, f"CREATE TABLE alembic_version (version_num VARCHAR(32)); INSERT INTO alembic_version VALUES ('{SCHEMA}')")
    _execute(folder, "CREATE TABLE runs (run_id TEXT, status TEXT, partition TEXT, update_timestamp DATETIME)")
    return folder


def _execute(home: Path, sql: str) -> None:
    with sqlite3.connect(home / "history" / "runs.db") as connection:
        connection.executescript(sql)
    connection.close()


def _of_home(home: Path) -> dict[str, Finding]:
    return {one.check: one for one in examine_home(Store(home.parent)) if one.level is not Level.OK}


def test_a_home_that_dagster_made_is_healthy(home: Path) -> None:
    _execute(home, "INSERT INTO runs VALUES ('r1', 'SUCCESS', 'demo', '2020-01-01'), ('r2', 'FAILURE', 'demo', '2020-01-01')")
    assert _of_home(home) == {}


def test_a_run_whose_process_is_gone_is_a_problem_and_one_that_has_just_begun_is_not(home: Path) -> None:
    _execute(home, "INSERT INTO runs VALUES ('0de22bee-1', 'STARTED', 'demo', '2020-01-01 00:00:00')")
    found = _of_home(home)["runs"]
    assert found.level is Level.PROBLEM and "0de22bee of demo" in found.text and "Terminate" in found.hint
    _execute(home, "UPDATE runs SET update_timestamp = CURRENT_TIMESTAMP")
    assert _of_home(home) == {}


def test_a_long_run_of_a_repository_that_is_being_built_is_not_stuck(home: Path) -> None:
    store = open_store(home.parent)
    repository = store.repository("demo")
    repository.path.mkdir()
    repository.origin_file.write_text("{}")
    _execute(home, "INSERT INTO runs VALUES ('r1', 'STARTED', 'demo', '2020-01-01 00:00:00')")
    with builder(repository):
        assert _of_home(home) == {}
    assert "runs" in _of_home(home)


def test_a_run_that_nobody_starts_is_told(home: Path) -> None:
    _execute(home, "INSERT INTO runs VALUES ('r1', 'QUEUED', 'demo', '2020-01-01 00:00:00')")
    assert "daemon" in _of_home(home)["runs"].hint


@pytest.mark.parametrize(
    ("revision", "level", "hint"),
    [("567bc23fd1ac", Level.WARNING, "dagster instance migrate"), ("ffffffffffff", Level.PROBLEM, "newer Dagster")],
)
def test_a_schema_of_another_dagster_is_told(home: Path, revision: str, level: Level, hint: str) -> None:
    _execute(home, f"UPDATE alembic_version SET version_num = '{revision}'")
    assert (found := _of_home(home)["schema"]).level is level and hint in found.hint


def test_a_damaged_database_is_a_problem_that_costs_no_index(home: Path) -> None:
    (home / "history" / "runs.db").write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    found = _of_home(home)["database"]
    assert found.level is Level.PROBLEM and "indexes do not depend on it" in found.hint


def test_a_home_without_its_settings_and_a_reporter_that_failed_are_told(home: Path) -> None:
    (home / "dagster.yaml").unlink()
    (home / "reporting.log").write_text(
        "Traceback (most recent call last):\n  …\nsqlite3.OperationalError: database is locked\n"
    )
    found = _of_home(home)
    assert found["settings"].level is Level.WARNING
    assert "database is locked" in found["reporting"].text


def test_a_home_that_grew_large_is_told(home: Path) -> None:
    with (home / "history" / "runs" / "large.db").open("wb") as file:
        file.truncate(3_000_000_000)  # It takes no room.
    assert "Delete old runs" in _of_home(home)["home"].hint
