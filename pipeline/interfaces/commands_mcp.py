"""`indexctl mcp`: the MCP server.

Belongs here: reading the arguments. Not here: the server (`interfaces.mcp`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.interfaces.options import Data, Repo


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("mcp")(mcp)


def mcp(
    data: Data = None,
    repo: Repo = None,
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP in place of standard input and output.")] = False,
    host: Annotated[
        str, typer.Option("--host", help="With --http: the address to listen on; others than loopback need --token-file.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="With --http: the port to listen on; 0 chooses a free one.")
    ] = 8765,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="With --http: answer only who sends this bearer token.")
    ] = None,
) -> None:
    """Serve the index to coding agents over the Model Context Protocol."""
    from pipeline.addresses import is_loopback
    from pipeline.errors import ConfigError
    from pipeline.interfaces.mcp.link import Worker
    from pipeline.store.place import data_folder

    if token_file is not None and not http:
        raise ConfigError("--token-file is for --http.", hint="Whoever starts the server over stdio needs no token.")
    worker = Worker(data_folder(data), repo)
    if not http:
        # The index is opened by another process, while this one imports the protocol.
        worker.start()
        from pipeline.interfaces.mcp.server import serve_stdio

        serve_stdio(worker)
    else:
        from pipeline.interfaces.mcp.http import read_token, serve_http

        token = None if token_file is None else read_token(token_file)
        if token is None and not is_loopback(host):
            raise ConfigError(f"{host} is reached from other machines.", hint="Give --token-file FILE, or --host 127.0.0.1.")
        worker.start()
        serve_http(worker, host, port, token)
    worker.close()
