"""One line at the start of whoever builds: what works here, where to, and by which settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.partitions import PARTITION_SET
from pipeline.definitions import BUILD_JOB, Overrides, build_definitions

_COMMAND = "import sys; from pipeline.interfaces.main import main; main(sys.argv[1:])"
_WITHOUT_UI = """
import json, os, sys
from pipeline.interfaces.main import main
os.execve = lambda program, command, environment: print(json.dumps([command, environment]))
main(sys.argv[1:])
"""


def ran(program: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)


def of_factory(err: str, event: str) -> Mapping[str, Any]:
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line["event"] == event]
    return line


def test_a_build_tells_what_works_where_logs_are_asked_for(world: Any) -> None:
    (world.repo / "harbour/tides.py").write_text("def flood(): pass\n")
    arguments = ("build", world.repo, "--data", world.store, "--json", "--ephemeral")
    done = ran(_COMMAND, *arguments, CODEINTEL_LOG="json", CODEINTEL_DEFAULT_K="7")
    line = of_factory(done.stderr, "builds")
    assert json.loads(done.stdout)["version"] == line["version"] == world.version
    assert (line["repository"], line["store"], line["dirty"]) == ("demo", str(world.store), True)
    assert line["settings"] == {"default_k": 7} and line["packages"]["duckdb"] and len(line["settings_digest"]) == 64
    (world.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    silent = ran(_COMMAND, *arguments)
    assert silent.returncode == 0 and "settings_digest" not in silent.stderr + silent.stdout


def test_a_level_of_logs_that_does_not_exist_is_refused(world: Any) -> None:
    done = ran(_COMMAND, "build", world.repo, "--data", world.store, "--json", CODEINTEL_LOG_LEVEL="loud")
    assert done.returncode == 2 and "CODEINTEL_LOG_LEVEL is `loud`" in done.stderr and not done.stdout


def test_the_ui_tells_what_it_shows_and_keeps_dagsters_advice_to_itself(world: Any) -> None:
    done = ran(_WITHOUT_UI, "ui", "--data", world.store, "--port", "3999", PYTHONWARNINGS="error::BytesWarning")
    line = of_factory(done.stderr, "shows this store")
    assert (line["store"], line["repositories"], line["port"]) == (str(world.store), 1, 3999)
    command, environment = json.loads(done.stdout)
    assert command[1:4] == ["dev", "-m", "pipeline.definitions"]
    assert environment["PYTHONWARNINGS"] == "error::BytesWarning,ignore:Function `dev_command`"


def test_every_run_tells_it_in_its_log(world: Any) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(PARTITION_SET, ["demo"])
        job = build_definitions(Overrides(data=world.store)).resolve_job_def(BUILD_JOB)
        result = job.execute_in_process(instance=instance, partition_key="demo")
        told = [entry.user_message for entry in instance.all_logs(result.run_id) if "settings_digest" in entry.user_message]
    [line] = told
    said = json.loads(line.removeprefix("builds: "))
    assert (said["repository"], said["store"]) == ("demo", str(world.store)) and said["packages"]["dagster"]
