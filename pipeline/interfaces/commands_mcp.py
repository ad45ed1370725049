"""`indexctl mcp`: the MCP server.

Belongs here: reading the arguments. Not here: the server (`interfaces.mcp`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.interfaces.options import AllowHost, Data, Host, NoToken, Repo, TokenFile

_HOST, _PORT = "127.0.0.1", 8765


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp")(mcp)


def mcp(
    data: Data = None,
    repo: Repo = None,
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP in place of standard input and output.")] = False,
    host: Host = _HOST,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port to listen on; 0: any free one.")] = _PORT,
    token_file: TokenFile = None,
    no_token: NoToken = False,
    allow_host: AllowHost = None,
) -> None:
    """Serve the index to coding agents over the Model Context Protocol; all but --data and --repo goes with --http."""
    from pipeline.errors import ConfigError
    from pipeline.interfaces.mcp.link import Worker
    from pipeline.store.place import data_folder

    folder = data_folder(data)
    if not http:
        if token_file is not None or no_token or allow_host or (host, port) != (_HOST, _PORT):
            raise ConfigError(
                "--host, --port, --token-file, --no-token and --allow-host are for --http.",
                hint="Over standard input and output nobody listens, and whoever starts the server needs no token.",
            )
        worker = Worker(folder, repo)
        # The index is opened by another process, while this one imports the protocol.
        worker.start()
        from pipeline.interfaces.mcp.server import serve_stdio

        serve_stdio(worker)
    else:
        from pipeline.interfaces.transport.access import access_of
        from pipeline.interfaces.transport.sockets import listen

        access = access_of(host, token_file=token_file, no_token=no_token, allowed=tuple(allow_host or ()))
        listener = listen(host, port)
        worker = Worker(folder, repo, metrics=True)
        worker.start()
        from pipeline.interfaces.mcp.http import serve_http

        serve_http(worker, host, listener, access)
    worker.close()
