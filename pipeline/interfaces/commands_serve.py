"""`indexctl serve`: the HTTP service.

Belongs here: its options. Not here: the service (`interfaces.http`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.interfaces.options import Data


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; others than loopback show the indexed code to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0: any free one.")] = 8321,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Answer only who sends the token in this file.")
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Answer everybody, on addresses that the network reaches, too.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A name under which the service is asked, too; repeatable."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=64, help="Requests that are answered at once.")] = 2,
    data: Data = None,
) -> None:
    """Serve searches, symbols, status and a page over HTTP, with OpenAPI at /openapi.json."""
    import logging

    from pipeline.addresses import address_of
    from pipeline.interfaces.context import choose_store
    from pipeline.interfaces.http.access import access_of
    from pipeline.interfaces.http.limits import Limits
    from pipeline.interfaces.http.server import listen
    from pipeline.interfaces.http.server import serve as answer_requests
    from pipeline.interfaces.observing.logs import tell_audit
    from pipeline.interfaces.serving.service import Service

    store = choose_store(data)
    access = access_of(host, token_file=token_file, no_token=no_token, allowed=tuple(allow_host or ()))
    listener = listen(host, port)
    sys.stderr.write(f"{address_of(listener)} serves {store.root} (Ctrl-C ends it)\n")
    sys.stderr.flush()
    answer_requests(
        Service(store, logging.getLogger(__name__).warning, tell=tell_audit), listener, access, Limits(threads=threads)
    )
