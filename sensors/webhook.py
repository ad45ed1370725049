"""Telling somebody outside: a JSON document, posted to an address.

Belongs here: the request, and that its failure harms nothing. Not here: what is worth telling (`alerts`).
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import ConfigError

TIMEOUT_SECONDS = 5.0


def checked_address(address: str) -> str:
    """The address itself, where something can be posted to it. Raises `ConfigError`, without it: it may be secret."""
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and address.isprintable() and " " not in address
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError("The webhook is not an http or https address.", hint="Set CODEINTEL_WEBHOOK to one.")
    return address


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """What was meant for one address is told to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse."""
        return


def post(address: str, document: Any) -> str | None:
    """Post a document; returns what went wrong, without the path of the address, or None. Never raises."""
    host = urlsplit(address).hostname
    try:
        request = urllib.request.Request(  # noqa: S310 - http and https only (`checked_address`)
            address,
            data=msgspec.json.encode(document),
            headers={"Content-Type": "application/json", "User-Agent": "codeintel-pipeline"},
            method="POST",
        )
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(request, timeout=TIMEOUT_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"{host} answered {error.code}."
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"{host} cannot be reached: {type(error).__name__ if isinstance(error, ValueError) else reason}."
