"""Which addresses there are, which request each one reads, and how a URL or a body becomes its arguments.

Belongs here: that table, from which routes and OpenAPI are made. Not here: bounds of arguments (`serving.requests`), fields of
answers (`schemas`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from pipeline.errors import QueryError
from pipeline.interfaces.http import quality, schemas
from pipeline.interfaces.serving.failures import reading
from pipeline.interfaces.serving.requests import Fetch, Name, Related, Request, Search, Status, Symbols, parse
from pipeline.interfaces.serving.service import Json, Service

FREE = ("/healthz", "/readyz", "/")
"""What needs no token: what an orchestrator asks, and the page, which asks for the token itself; its files beside it."""
_FILES = "/static/"
MOST_FIELDS = 300
"""Of a query string."""


class Versions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The versions in the store, the latest published first."""

    repo: Name | None = None


class Quality(Request, frozen=True, kw_only=True):
    """How good a version is: what its evaluation measured, what of the repository is covered, and how both went before."""


def _versions(service: Service, arguments: Json, texts: bool) -> Json:
    return quality.versions(service, parse(Versions, arguments, texts=texts).repo)


def _quality(service: Service, arguments: Json, texts: bool) -> Json:
    request = parse(Quality, arguments, texts=texts)
    return quality.quality(service, request.repo, request.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address. `inside` stands in the path; `without` are arguments of the request that it does not take."""

    path: str
    name: str
    kind: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    operation: str
    """Of the service; metrics name it so, too."""
    own: Callable[[Service, Json, bool], Json] | None = None
    """What answers in place of the service."""
    inside: str = ""
    without: frozenset[str] = frozenset()
    post: bool = False
    """Whether the arguments may come as JSON in a body, too."""

    def ask(self, service: Service, arguments: Json, texts: bool) -> Json:
        """The answer; `texts` where the arguments come from a URL."""
        if self.own is not None:
            with reading(service.store.root, opened=True):
                return self.own(service, arguments, texts)
        return service.ask(self.operation, arguments, texts=texts)

    @property
    def route(self) -> str:
        """The path as routes have it: what stands in it may hold slashes."""
        return self.path.replace(f"{{{self.inside}}}", f"{{{self.inside}:path}}")

    @property
    def fields(self) -> dict[str, inspect.Field]:
        """Those of the request that it takes in the query, by name."""
        return {name: one for name, one in fields_of(self.kind).items() if name != self.inside and name not in self.without}


ENDPOINTS = (
    Endpoint(path="/search", name="search", kind=Search, answer=schemas.Searched, operation="search", post=True),
    Endpoint(
        path="/chunks/{id}", name="chunk", kind=Fetch, answer=schemas.Chunk, operation="fetch", inside="id",
        without=frozenset(("uri", "start_line", "end_line")),
    ),
    Endpoint(
        path="/files/{uri}", name="lines", kind=Fetch, answer=schemas.Lines, operation="fetch", inside="uri",
        without=frozenset(("id", "around")),
    ),
    Endpoint(
        path="/symbols/{name}", name="symbols", kind=Symbols, answer=schemas.Symbols, operation="symbols", inside="name"
    ),
    Endpoint(path="/related/{id}", name="related", kind=Related, answer=schemas.Related, operation="related", inside="id"),
    Endpoint(path="/status", name="status", kind=Status, answer=schemas.Status, operation="status"),
    Endpoint(path="/versions", name="versions", kind=Versions, answer=schemas.Versions, own=_versions, operation="versions"),
    Endpoint(path="/quality", name="quality", kind=Quality, answer=schemas.Quality, own=_quality, operation="quality"),
)  # fmt: skip


def is_free(path: str) -> bool:
    """Whether an address needs no token."""
    return path in FREE or path.startswith(_FILES)


def fields_of(kind: type[msgspec.Struct]) -> dict[str, inspect.Field]:
    """The fields of a struct by name."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return {one.encode_name: one for one in described.fields}


def _is_list(kind: inspect.Type) -> bool:
    """Whether a field may be given more than once. A description wraps the type that it is of."""
    return _is_list(kind.type) if isinstance(kind, inspect.Metadata) else isinstance(kind, inspect.ListType)


def from_query(endpoint: Endpoint, query: bytes, inside: str) -> Json:
    """The arguments in a URL: what is repeated is a list where a list is meant. Raises `QueryError`."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:  # also what a text that is no UTF-8 raises
        raise QueryError(
            "The query of the URL cannot be read.", hint=f"Write at most {MOST_FIELDS} parameters, percent-encoded, in UTF-8."
        ) from None
    fields = endpoint.fields
    arguments: dict[str, Any] = {endpoint.inside: inside} if endpoint.inside else {}
    for name, value in pairs:
        if name not in fields:
            raise QueryError(f"There is no parameter `{name[:40]}` here.", hint=f"There are {', '.join(fields)}.")
        if _is_list(fields[name].type):
            arguments.setdefault(name, []).append(value)
        elif name in arguments:
            raise QueryError(f"`{name}` is given more than once.", hint="Give it once.")
        else:
            arguments[name] = value
    return arguments


def from_body(body: bytes) -> Json:
    """The arguments in a body. Raises `QueryError` for what is no JSON object."""
    try:
        arguments = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise QueryError(f"The body is not JSON: {error}.", hint='Send an object such as {"query": "…"}.') from None
    if not isinstance(arguments, dict):
        raise QueryError("The body is not a JSON object.", hint='Send one such as {"query": "…"}.')
    return arguments
