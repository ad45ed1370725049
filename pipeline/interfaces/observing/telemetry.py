"""OpenTelemetry: a span a request, and one for each phase of the engine below it, where an endpoint is set for them.

The phases are the engine's own reports (`instruments`) of what took seconds: nothing is measured twice. Spans are sent from a
thread of their own, and a collector that is gone costs no request anything.

Belongs here: from reports to spans. Not here: metrics, what a request is (`requests`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline import __version__, instruments
from pipeline.instruments import Metric

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE = "codeintel"
_NOT_PHASES = frozenset({"codeintel_request_seconds"})
"""The request has a span already."""
_FLUSH_MS = 3000
_log = logging.getLogger(__name__)
_tracer: Tracer | None = None


@contextlib.contextmanager
def telemetry(environment: Mapping[str, str] | None = None) -> Iterator[bool]:
    """Send spans while the block lasts, and say whether any are: only where one of `ENDPOINTS` is set.

    Where the extra `otel` is missing, one line of the log says so. What waits is sent at the end, for a few seconds at most.
    """
    global _tracer
    environment = os.environ if environment is None else environment
    if not any(environment.get(name) for name in ENDPOINTS) or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield False
        return
    try:
        provider = _provider(environment)
    except ImportError as error:
        _log.error(
            "no spans are sent, because OpenTelemetry cannot be imported (%s): install the extra `otel`, "
            'pip install "codeintel-pipeline[otel]", or unset OTEL_EXPORTER_OTLP_ENDPOINT',
            error,
        )
        yield False
        return
    tracer = provider.get_tracer("codeintel-pipeline", __version__)
    _tracer = tracer
    try:
        with instruments.listen(_phase):
            yield True
    finally:
        _tracer = None
        provider.force_flush(_FLUSH_MS)
        provider.shutdown()


def _provider(environment: Mapping[str, str]) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What the environment says of the service comes after what is said here.
    named = {"service.name": environment.get("OTEL_SERVICE_NAME") or SERVICE, "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=_traces_url(environment))))
    return provider


def _traces_url(environment: Mapping[str, str]) -> str:
    base, traces = (environment.get(name, "") for name in ENDPOINTS)
    return traces or f"{base.rstrip('/')}/v1/traces"


@contextlib.contextmanager
def span(name: str, attributes: Mapping[str, str], *, traceparent: str = "") -> Iterator[None]:
    """A span around a block, where spans are sent; a part of the caller's trace with `traceparent` (W3C)."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent}) if traceparent else None
    told = {f"codeintel.{key}": value for key, value in attributes.items() if value}
    with _tracer.start_as_current_span(
        name,
        context=parent,
        kind=SpanKind.SERVER,
        attributes=told,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except BaseException as error:
            # Its text may hold what is none of a collector's business; the log has it, without secrets.
            current.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def _phase(metric: Metric, value: float, labels: Mapping[str, str]) -> None:
    """A phase that ended now in this thread, below the request that it is a part of."""
    tracer = _tracer
    if tracer is None or metric.kind != "histogram" or "seconds" not in metric.name or metric.name in _NOT_PHASES:
        return
    from opentelemetry.trace import get_current_span

    # Without a request around it, it would be a trace of its own.
    if not get_current_span().get_span_context().is_valid:
        return
    ended = time.time_ns()
    name = metric.name.removeprefix("codeintel_").removesuffix("_seconds").removesuffix("_duration")
    told = {f"codeintel.{key}": word for key, word in labels.items()}
    tracer.start_span(name, start_time=ended - int(value * 1e9), attributes=told).end(ended)
