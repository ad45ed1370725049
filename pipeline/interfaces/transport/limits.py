"""How much a client may ask of a server's sockets: bytes, seconds and counts.

Belongs here: bounds that hold for every HTTP server. Not here: what holds them (`connections`, `bodies`, `guard`), bounds of
work (`http.limits`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bytes, seconds and counts."""

    url: int = 1 << 14
    """Path and query as they came, in bytes."""
    head: int = 1 << 15
    """Request line and headers, in bytes."""
    head_seconds: float = 10.0
    """From the first moment of a connection, or the first byte of a later request, to the end of the headers."""
    body: int = 1 << 20
    body_seconds: float = 10.0
    keep_alive: int = 30
    """Seconds that a connection may lie idle."""
    write_seconds: float = 30.0
    """For which a client may leave an answer unread."""
    connections: int = 512
    """Open at once."""
    graceful: int = 10
    """Seconds that running requests have when the service is told to end."""
