"""One POST of JSON to one server, with time-outs and retries.

What passes by itself is tried again, after 0.5, 1, 2, … seconds or as long as the server asks for: no connection, no answer in
time, a connection that breaks off, and the statuses 408, 425, 429, 500, 502, 503 and 504. Nothing else is.

Redirects are not followed: source code is sent to the address that the settings name, and to no other. A key is read from the
environment for every request and appears in no message.

Belongs here: transport and its errors. Not here: what is sent (`remote`).
"""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from pipeline.addresses import is_loopback
from pipeline.errors import CodeIntelError, ConfigError, RuntimeLifecycleError

MOST_BYTES = 256 << 20
"""Of an answer."""
_FIRST_DELAY, _MOST_DELAY = 0.5, 60.0
"""Seconds."""
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_EXCERPT = 300
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to, and how patiently. `timeout` in seconds without a byte, and for an answer that has begun; `key_variable` may be
    empty."""

    url: str
    key_variable: str
    timeout: float
    retries: int
    stop: threading.Event = field(default_factory=threading.Event, compare=False)
    """Once set, nothing is tried again."""


def checked_url(url: str) -> SplitResult:
    """The parts of a base URL. Raises `ConfigError` for one that is no plain http or https address, or holds a secret."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"`embed_url` is no address: {error}.", hint="Give one like http://127.0.0.1:8000/v1.") from None
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        # Not shown: it may hold a secret.
        raise ConfigError(
            "`embed_url` holds a user, a password, a query or a fragment, which would be written into logs.",
            hint="Put the key into an environment variable, and name that in `embed_api_key_variable`.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or any(mark <= " " or mark > "~" for mark in url):
        raise ConfigError(f"`embed_url` is {url!r}.", hint="Give an address like http://127.0.0.1:8000/v1.")
    return parts


def post(endpoint: Endpoint, body: bytes) -> bytes:
    """The body of the answer to `body`.

    Raises `ConfigError` for what the settings are wrong in (address, model, key), `RuntimeLifecycleError` for a server that
    cannot be reached, does not answer or refuses the texts.
    """
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "codeintel-pipeline"}
    key = _key(endpoint.key_variable)
    if key:
        headers["Authorization"] = f"Bearer {key}"
    opener = _opener(endpoint.url)
    problem, delay = "", _FIRST_DELAY
    for attempt in range(endpoint.retries + 1):
        if attempt and endpoint.stop.wait(delay):
            break
        delay = min(_FIRST_DELAY * 2**attempt, _MOST_DELAY)
        try:
            # The scheme was checked: http or https.
            request = urllib.request.Request(endpoint.url, data=body, headers=headers, method="POST")  # noqa: S310
            with opener.open(request, timeout=endpoint.timeout) as answer:
                return _read(answer, endpoint)
        except urllib.error.HTTPError as error:
            with error:
                said = _excerpt(error, key)
            if error.code not in _PASSING:
                raise _refusal(endpoint, error.code, said) from None
            problem = f"it answered {error.code}{said}"
            delay = max(delay, _asked_delay(error))
        except urllib.error.URLError as error:
            problem = f"{error.reason}"
        except TimeoutError:
            problem = f"no answer in {endpoint.timeout:g} s"
        except (OSError, http.client.HTTPException) as error:
            problem = f"{type(error).__name__}: {error}"
    tries = "once" if endpoint.retries == 0 else f"{endpoint.retries + 1} times"
    raise RuntimeLifecycleError(
        f"The embedding server at {endpoint.url} does not answer, asked {tries}: {problem}.",
        hint="Start the server or correct `embed_url`; what was embedded so far is kept, and CURRENT is unchanged.",
    )


def _read(answer: http.client.HTTPResponse, endpoint: Endpoint) -> bytes:
    """The body. Raises `TimeoutError` for one that has begun and does not end in time, however steadily it drips."""
    deadline = time.monotonic() + endpoint.timeout
    pieces, size = [], 0
    while size <= MOST_BYTES and (piece := answer.read1(_PIECE)):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise TimeoutError
    # `read1` is silent about a connection that breaks off.
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    if size > MOST_BYTES:
        raise RuntimeLifecycleError(
            f"The embedding server at {endpoint.url} answers with more than {MOST_BYTES >> 20} MiB.",
            hint="Lower `embed_batch_size`, or see whether this is an embedding server.",
        )
    return b"".join(pieces)


def _refusal(endpoint: Endpoint, status: int, said: str) -> CodeIntelError:
    message = f"The embedding server at {endpoint.url} answered {status}{said}."
    if status in (401, 403):
        where = f"`{endpoint.key_variable}` in the environment" if endpoint.key_variable else "`embed_api_key_variable`"
        return ConfigError(message, hint=f"See to the key: {where}.")
    if 300 <= status < 400:
        return ConfigError(message, hint="Redirects are not followed; set `embed_url` to the address itself.")
    if status in (404, 405):
        return ConfigError(
            message, hint="Set `embed_url` to what comes before `/embeddings`, and `embed_model` to a model there."
        )
    return RuntimeLifecycleError(
        message,
        hint="Where a text is too long for the model: let the server cut it, set `embed_max_tokens`, or lower `chunk_budget`; "
        "where there are too many, lower `embed_batch_size`. What was embedded so far is kept.",
    )


def _key(variable: str) -> str:
    """The key. Raises `ConfigError` where the variable is missing or holds what is no key."""
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"`embed_api_key_variable` is {variable}, which is not set.", hint="Set that variable in the environment."
        )
    if any(mark <= " " or mark > "~" for mark in key):
        raise ConfigError(f"What is in the environment variable {variable} cannot be a key.", hint="Set it again.")
    return key


def _excerpt(error: urllib.error.HTTPError, key: str) -> str:
    """The beginning of what the server says about an error, without the key and on one line."""
    try:
        said = error.read(8 * _EXCERPT).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    if key:
        said = said.replace(key, "…")
    said = " ".join("".join(mark if mark.isprintable() else " " for mark in said).split())[:_EXCERPT]
    return f": {said}" if said else ""


def _asked_delay(error: urllib.error.HTTPError) -> float:
    """Seconds of `Retry-After`; 0 where there is none, or a date."""
    asked = (error.headers.get("Retry-After") or "").strip()
    return min(float(asked), _MOST_DELAY) if asked.isascii() and asked.isdigit() else 0.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: object) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """An opener that follows no redirect, and takes no proxy to this machine itself."""
    host = urlsplit(url).hostname or ""
    return urllib.request.build_opener(_NoRedirects, *([urllib.request.ProxyHandler({})] if is_loopback(host) else []))
