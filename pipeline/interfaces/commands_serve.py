"""`indexctl serve`: the HTTP service.

Belongs here: its options. Not here: the service (`interfaces.http`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.interfaces.options import AllowHost, Data, Host, NoToken, TokenFile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0: any free one.")] = 8321,
    token_file: TokenFile = None,
    no_token: NoToken = False,
    allow_host: AllowHost = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=64, help="Requests that are answered at once.")] = 2,
    data: Data = None,
) -> None:
    """Serve searches, symbols, status and a page over HTTP, with OpenAPI at /openapi.json."""
    import logging

    from pipeline.addresses import address_of
    from pipeline.interfaces.context import choose_store
    from pipeline.interfaces.http.limits import Limits
    from pipeline.interfaces.http.server import serve as answer_requests
    from pipeline.interfaces.observing.logs import tell_audit
    from pipeline.interfaces.serving.service import Service
    from pipeline.interfaces.transport.access import access_of
    from pipeline.interfaces.transport.sockets import announce, listen

    store = choose_store(data)
    access = access_of(host, token_file=token_file, no_token=no_token, allowed=tuple(allow_host or ()))
    listener = listen(host, port)
    announce(f"{address_of(listener)} serves {store.root}", host)
    answer_requests(
        Service(store, logging.getLogger(__name__).warning, tell=tell_audit), listener, access, Limits(threads=threads)
    )
