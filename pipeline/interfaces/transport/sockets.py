"""A socket to listen on, and what is said of it.

Belongs here: listening. Imports nothing that takes time: `indexctl mcp` listens before it starts anything. Not here: serving
(`server`), what an address means (`pipeline.addresses`).
"""

from __future__ import annotations

import errno
import socket
import sys

from pipeline.addresses import is_loopback
from pipeline.errors import ConfigError, RuntimeLifecycleError
from pipeline.interfaces.output import print_warning

_BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `ConfigError` for what is no address, `RuntimeLifecycleError` for one that is taken."""
    no_address = ConfigError(f"`{host}` is no address of this machine.", hint="Give --host 127.0.0.1.")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, ValueError):
        raise no_address from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise no_address from None
        what = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
        raise RuntimeLifecycleError(f"The service cannot listen on {host}:{port}: {what}.", hint="Give --port N.") from None
    return listener


def announce(what: str, host: str) -> None:
    """Say on standard error what is served, and what of it others can overhear."""
    sys.stderr.write(f"{what} (Ctrl-C ends it)\n")
    if not is_loopback(host):
        print_warning(
            f"what is asked and answered on {host} is not encrypted, a token as little as code: "
            "where others can listen, serve on 127.0.0.1 behind a proxy with TLS"
        )
    sys.stderr.flush()
