"""The MCP server: the protocol, by the official SDK, over standard input and output.

Belongs here: what the SDK is told, and how it is imported. Not here: HTTP (`http`), tools (`tools`), answers (`answering`, in
the process of `worker`).
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.interfaces.mcp.link import Worker
from pipeline.interfaces.mcp.tools import INSTRUCTIONS, TOOLS, input_schema

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

NAME = "codeintel"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import the SDK in less time: nothing is garbage meanwhile, and most of its models are never used.

    Pydantic builds a model when it is first used then, and not when its class is made.
    """
    from pydantic import BaseModel

    gc.disable()
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
        gc.freeze()
        gc.enable()


def make_server(worker: Worker) -> Server[Any]:
    """A server whose tools ask the worker."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    annotations = types.ToolAnnotations(
        read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    )
    tools = [
        types.Tool(
            name=name, title=told.title, description=told.description, input_schema=input_schema(name), annotations=annotations
        )
        for name, told in TOOLS.items()
    ]

    async def list_tools(_: Any, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        answer = await worker.call(params.name, params.arguments or {})
        return types.CallToolResult(content=[types.TextContent(type="text", text=answer.text)], is_error=answer.error)

    return Server(
        NAME,
        version=__version__,
        title="Code index",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: input_schema(name) if name in TOOLS else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def serve_stdio(worker: Worker) -> None:
    """Serve whoever started this process until they close its standard input."""
    # A thread waits in a read that nothing interrupts, so Ctrl-C ends the process; the worker notices.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with quick_imports():
        from mcp.server.stdio import stdio_server

        server = make_server(worker)

    async def serve() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    try:
        asyncio.run(serve())
    except* (BrokenPipeError, ConnectionResetError):
        # Whoever asked is gone.
        pass
