"""The description of the service in OpenAPI 3.1, made from the table of addresses, the requests and the shapes of answers.

Belongs here: putting these together. Not here: what they are (`endpoints`, `serving.requests`, `schemas`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline import __version__
from pipeline.interfaces.http import schemas
from pipeline.interfaces.http.endpoints import ENDPOINTS, FREE, Endpoint

_REFERENCE = "#/components/schemas/{name}"
_ERRORS = {
    "400": "The request cannot be read, or says what cannot be answered.",
    "401": "The service wants a token.",
    "403": "A page of another site asks.",
    "404": "There is no such repository, version, chunk, file or symbol.",
    "405": "The address does not take this method.",
    "408": "The request did not come to its end in time.",
    "413": "The body is too large.",
    "414": "The URL is too long.",
    "415": "The body is not JSON.",
    "421": "The service has another name than the one it is asked by.",
    "500": "The service failed; its log says why.",
    "503": "Too many requests wait, or the index cannot be read now; ask again.",
    "504": "The answer took too long.",
}
_WITH_BODY = ("408", "413", "415")


def document() -> dict[str, Any]:
    """The OpenAPI document, as a JSON value."""
    kinds = [*(one.answer for one in ENDPOINTS), *(one.kind for one in ENDPOINTS if one.post)]
    _, components = msgspec.json.schema_components(
        [*kinds, schemas.Error, schemas.Health, schemas.Readiness], ref_template=_REFERENCE
    )
    paths = {one.path: _operations(one) for one in ENDPOINTS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "codeintel-pipeline",
            "version": __version__,
            "summary": "Search over an auditable index of source code.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**paths, **_plain_paths()},
        "components": {
            "schemas": components,
            "responses": {
                status: {"description": said, "content": _json(schemas.Error), **_retry(status)}
                for status, said in _ERRORS.items()
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # An empty requirement says that a service may run without a token.
        "security": [{"token": []}, {}],
    }


def _operations(endpoint: Endpoint) -> dict[str, Any]:
    doc = " ".join((endpoint.kind.__doc__ or "").split())
    shared: dict[str, Any] = {"summary": doc, "tags": ["index"]}
    without = [status for status in _ERRORS if status not in _WITH_BODY]
    operations: dict[str, Any] = {
        "get": {
            **shared,
            "operationId": endpoint.name,
            "parameters": _parameters(endpoint),
            "responses": _responses(endpoint.answer, without),
        }
    }
    if endpoint.post:
        operations["post"] = {
            **shared,
            "operationId": f"{endpoint.name}ByBody",
            "requestBody": {"required": True, "content": _json(endpoint.kind)},
            "responses": _responses(endpoint.answer, list(_ERRORS)),
        }
    return operations


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    described = msgspec.json.schema_components([endpoint.kind], ref_template=_REFERENCE)[1][endpoint.kind.__name__]
    properties, required = described["properties"], described.get("required", [])
    found = []
    if endpoint.inside:
        schema = _without_null(properties[endpoint.inside])
        said = schema.pop("description", "")
        note = " Slashes in it may be written as they are." if endpoint.inside in ("uri", "name") else ""
        found.append({
            "name": endpoint.inside, "in": "path", "required": True, "description": said + note, "schema": schema,
        })  # fmt: skip
    for name in endpoint.fields:
        schema = _without_null(properties[name])
        said = schema.pop("description", "")
        found.append({
            "name": name, "in": "query", "required": name in required, "description": said, "schema": schema,
            **({"style": "form", "explode": True} if schema.get("type") == "array" else {}),
        })  # fmt: skip
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """In a URL a parameter that is not given is left out."""
    kept = dict(schema)
    if "anyOf" in kept:
        others = [one for one in kept.pop("anyOf") if one != {"type": "null"}]
        assert len(others) == 1
        kept |= others[0]
    if kept.get("default", "") is None:
        del kept["default"]
    return kept


def _responses(answer: type, errors: list[str]) -> dict[str, Any]:
    said = " ".join((answer.__doc__ or "").split())
    return {
        "200": {"description": said, "content": _json(answer)},
        **{status: {"$ref": f"#/components/responses/{status}"} for status in errors},
    }


def _plain_paths() -> dict[str, Any]:
    """What operators and browsers ask."""

    def plain(path: str, name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
        free: dict[str, Any] = {"security": []} if path in FREE else {}
        errors = [status for status in ("401", "403", "414", "421", "500", "503", "504") if not (free and status == "401")]
        known = {status: {"$ref": f"#/components/responses/{status}"} for status in errors}
        return {
            "get": {"operationId": name, "summary": summary, "tags": ["service"], "responses": {**known, **responses}, **free}
        }

    def ok(said: str, content: dict[str, Any]) -> dict[str, Any]:
        return {"description": said, "content": content}

    ready = _json(schemas.Readiness)
    text = {"schema": {"type": "string"}}
    rows = (
        ("/healthz", "health", "Whether the process answers.", {"200": ok("It does.", _json(schemas.Health))}),
        (
            "/readyz", "readiness", "Whether searches are answered.",
            {"200": ok("They are.", ready), "503": {"description": "They are not.", "content": ready, **_retry("503")}},
        ),
        ("/metrics", "metrics", "Metrics for Prometheus.", {"200": ok("Text, version 0.0.4.", {"text/plain": text})}),
        ("/openapi.json", "description", "This document.", {"200": ok("OpenAPI 3.1.", {"application/json": {"schema": {}}})}),
        ("/", "page", "The page for people.", {"200": ok("HTML.", {"text/html": text})}),
    )  # fmt: skip
    return {path: plain(path, name, summary, responses) for path, name, summary, responses in rows}


def _json(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(name=kind.__name__)}}}


def _retry(status: str) -> dict[str, Any]:
    if status != "503":
        return {}
    return {"headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}}
