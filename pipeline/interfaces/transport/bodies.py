"""The body of a request, whole, within its bounds.

Belongs here: reading it. Not here: what it says (`http.endpoints`, the protocol of `mcp`).
"""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from pipeline.interfaces.transport.errors import RefusedError
from pipeline.interfaces.transport.limits import ConnectionLimits

JSON = "application/json"
_DRAINED = 8
"""How many times its limit is read of a body that is too large, so that its sender comes to read the answer."""
_CLOSE = {"connection": "close"}


async def json_body(request: Request, limits: ConnectionLimits) -> bytes:
    """The body of a request that is said to be JSON. Raises `RefusedError`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise RefusedError(
            415, "not_json", "The body is not said to be JSON.", f"Send the header `content-type: {JSON}`.", headers=_CLOSE
        )
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _read(request, limits)
    except TimeoutError:
        raise RefusedError(
            408, "timeout", f"The body did not come within {limits.body_seconds:g} seconds.", "Send it at once.", headers=_CLOSE
        ) from None


async def _read(request: Request, limits: ConnectionLimits) -> bytes:
    too_large = RefusedError(
        413, "too_large", f"The body is larger than {limits.body:,} bytes.", "Send a smaller one.", headers=_CLOSE
    )
    said = request.headers.get("content-length", "")
    expects = request.headers.get("expect", "").lower() == "100-continue"
    if said.isdigit() and int(said) > limits.body * (1 if expects else _DRAINED):
        raise too_large
    read, size = [], 0
    async for block in request.stream():
        size += len(block)
        if size <= limits.body:
            read.append(block)
        elif size > limits.body * _DRAINED:
            break
    if size > limits.body:
        raise too_large
    return b"".join(read)
