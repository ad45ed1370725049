"""`indexctl ui`: the Dagster UI over the store, with its daemon for schedule and sensor.

Belongs here: starting it. Not here: the definitions that it shows (`pipeline.definitions`).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.interfaces.options import Data


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ui")(ui)


def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = 3000,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; others than loopback show it to the network.")
    ] = "127.0.0.1",
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Only make the store and its Dagster instance, for processes that start beside it."),
    ] = False,
    data: Data = None,
) -> None:
    """Open the Dagster UI: the asset graph, runs, checks, schedule and sensor of this store."""
    from pipeline.interfaces.observing.logs import start_logging, tell_factory
    from pipeline.interfaces.run import dagster_home, dagster_instance, start_reporting
    from pipeline.settings_files import load
    from pipeline.store.layout import create_store
    from pipeline.store.place import data_folder

    store = create_store(data_folder(data))
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(dagster_home(store)),
        "CODEINTEL_DATA": str(store.root),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # `dagster dev` says that it is to be `dg dev`, which wants a project of its own.
        "PYTHONWARNINGS": ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), "ignore:Function `dev_command`"))),
    }
    program = Path(sys.executable).parent / "dagster"
    command = [str(program), "dev", "-m", "pipeline.definitions", "-h", host, "-p", str(port)]
    with dagster_instance(store):
        pass  # Its databases are there before the processes of the UI open them, all at once.
    if prepare:
        return
    start_reporting(store)
    start_logging()
    tell_factory("shows this store", store.root, load(store.root), host=host, port=port, repositories=len(store.repositories()))
    sys.stderr.write(f"Dagster UI on http://{host}:{port} (Ctrl-C ends it)\n")
    sys.stderr.flush()
    # A shell script starts `indexctl ui &` with SIGINT ignored; Dagster treats SIGTERM alike, and nothing polite would end it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execve(program, command, environment)  # noqa: S606 - our own interpreter's dagster, no shell
