"""Who may ask: hosts, tokens, and the headers that keep browsers from doing more than they are told.

Belongs here: what is decided before a request is read. Not here: limits of what it may cost (`limits`).
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.addresses import is_loopback
from pipeline.errors import ConfigError
from pipeline.interfaces.transport.errors import RefusedError

_LEAST_TOKEN = 16
_MOST_TOKEN = 4096
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY: Mapping[bytes, bytes] = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}
"""With every answer."""


@dataclass(frozen=True, slots=True)
class Access:
    """`hosts` are the names under which the service may be asked, None where any will do; `token` is None where none is
    wanted."""

    hosts: frozenset[str] | None
    token: bytes | None = None

    def check(self, header: Callable[[str], str | None], *, free: bool = False) -> None:
        """Raises `RefusedError` for a request that may not be asked; `free`: of what needs no token."""
        host, origin = header("host"), header("origin")
        self._check_host(host)
        if origin is not None:
            self._check_origin(origin, _name_of(f"//{host}"))
        if self.token is None or free:
            return
        scheme, _, given = (header("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.token):
            raise RefusedError(
                401, "unauthorized", "This service wants a token.", "Send it as `Authorization: Bearer TOKEN`.",
                headers={"www-authenticate": "Bearer"},
            )  # fmt: skip

    def _check_host(self, given: str | None) -> None:
        # A page of somebody's whose name was made to mean this machine (DNS rebinding) shows by the name that it asks for.
        if self.hosts is None or (given is not None and self._is_ours(_name_of(f"//{given}"), self.hosts)):
            return
        raise RefusedError(
            421,
            "wrong_host",
            "The request names no host." if given is None else f"This service is not `{given[:100]}`.",
            "Ask it as localhost, or start it with --allow-host NAME.",
        )

    def _check_origin(self, given: str, asked: str) -> None:
        """A page may ask that comes from where it asks, or under a name that the service has."""
        name = _name_of(given)
        if name and (name == asked if self.hosts is None else self._is_ours(name, self.hosts)):
            return
        raise RefusedError(
            403, "wrong_origin", f"Pages of `{given[:100]}` may not ask this service.",
            "Open its own page, or start it with --allow-host NAME.",
        )  # fmt: skip

    def _is_ours(self, name: str, hosts: frozenset[str]) -> bool:
        return name in hosts or is_loopback(name)


def _name_of(url: str) -> str:
    """The host of a URL, without the port; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _allowed_name(given: str) -> str:
    name = _name_of(f"//{given}")
    if not name or name != given.lower().strip("[]").rstrip("."):
        raise ConfigError(f"`{given}` is no name of a host.", hint="Give --allow-host NAME without scheme, port or path.")
    return name


def access_of(host: str, *, token_file: Path | None, no_token: bool, allowed: tuple[str, ...] = ()) -> Access:
    """Who may ask a service that listens on `host`. Raises `ConfigError` where it would be open to a network unasked."""
    local = is_loopback(host)
    if no_token and token_file is not None:
        raise ConfigError("--token-file and --no-token exclude each other.", hint="Give one of them.")
    if not local and token_file is None and not no_token:
        raise ConfigError(
            f"On {host} whoever reaches this machine could read the indexed code.",
            hint="Give --token-file FILE, or --no-token if that is meant.",
        )
    hosts = frozenset((host.lower(), *map(_allowed_name, allowed)))
    return Access(hosts if local or allowed else None, None if token_file is None else read_token(token_file))


def read_token(path: Path) -> bytes:
    """The token in a file, without white space around it. Raises `ConfigError` for a file that cannot hold a secret."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(_MOST_TOKEN + 1).strip()
    except OSError as error:
        raise ConfigError(f"The token file {path} cannot be read: {error.strerror}.", hint="Give --token-file FILE.") from None
    if not _LEAST_TOKEN <= len(token) <= _MOST_TOKEN or not token.isascii() or len(token.split()) != 1:
        raise ConfigError(
            f"The token file {path} holds no token.",
            hint=f"Write one line of at least {_LEAST_TOKEN} characters, such as `openssl rand -hex 32` gives.",
        )
    if stat.S_ISREG(mode) and mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_IROTH):
        raise ConfigError(f"The token file {path} is open to other users.", hint=f"Run `chmod 600 {path}`.")
    return token
