"""Addresses of machines and sockets.

Belongs here: what an address means, by what it says. Not here: listening, or asking anybody (`interfaces`, `embed`, `source`).
"""

from __future__ import annotations

import ipaddress
import socket


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine alone, by what it says: names are not looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def address_of(listener: socket.socket) -> str:
    """The URL of what a socket listens on."""
    host, port, *_ = listener.getsockname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
