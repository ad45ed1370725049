"""Spans arrive at a collector, and a collector that is not there, or a missing extra, costs nobody a request."""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.config import Settings
from pipeline.interfaces.observing.requests import request
from pipeline.interfaces.observing.telemetry import telemetry
from pipeline.search.engine import open_searcher
from pipeline.store.layout import open_store

needs_otel = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry") is None or importlib.util.find_spec("opentelemetry.sdk") is None,
    reason='the extra `otel` is not installed: pip install "codeintel-pipeline[otel]"',
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """A collector of OTLP over HTTP that keeps what it is sent."""

    def __init__(self) -> None:
        bodies: list[tuple[str, bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.bodies = bodies
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> list[Any]:
        """Every span that arrived."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        assert {path for path, _ in self.bodies} <= {"/v1/traces"}
        sent = [ExportTraceServiceRequest.FromString(body) for _, body in self.bodies]
        return [
            span for one in sent for resource in one.resource_spans for scope in resource.scope_spans for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.server.shutdown()
    one.server.server_close()


def _search(built: Any) -> None:
    with (
        request("http", "search", repository="demo", traceparent=TRACE),
        open_searcher(open_store(built.store).existing("demo"), Settings()) as searcher,
    ):
        searcher.search("how is the berth fee worked out")


@needs_otel
def test_a_request_is_a_span_of_its_callers_trace_and_the_engines_phases_lie_below_it(built: Any, collector: Collector) -> None:
    with telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}) as on:
        assert on
        _search(built)
    spans = {span.name: span for span in collector.spans()}
    whole = spans["http search"]
    assert whole.trace_id.hex() == TRACE.split("-")[1] and whole.parent_span_id.hex() == TRACE.split("-")[2]
    told = {one.key: one.value.string_value for one in whole.attributes}
    assert (told["codeintel.repository"], told["codeintel.operation"]) == ("demo", "search")
    for phase in ("faiss_ann_search", "channel", "search"):
        one = spans[phase]
        assert (one.trace_id, one.parent_span_id) == (whole.trace_id, whole.span_id)
        assert whole.start_time_unix_nano <= one.start_time_unix_nano <= one.end_time_unix_nano <= whole.end_time_unix_nano


@needs_otel
def test_an_error_marks_its_span_and_sends_no_text_of_it(built: Any, collector: Collector) -> None:
    with (
        telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}),
        pytest.raises(ValueError, match="hunter22"),
        request("http", "search"),
    ):
        raise ValueError("https://ada:hunter22@host")
    [span] = collector.spans()
    assert span.status.code == 2
    assert not any(b"hunter22" in body for _, body in collector.bodies)


@needs_otel
def test_a_collector_that_is_gone_costs_a_request_nothing_but_its_spans(built: Any, collector: Collector) -> None:
    collector.server.shutdown()
    collector.server.server_close()
    with telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}):
        ended = []
        for _ in range(100):
            with request("http", "search") as this:
                pass
            ended.append(this.ended)
    assert ended == ["ok"] * 100 and collector.bodies == []


def test_without_an_endpoint_nothing_is_loaded_or_sent(built: Any) -> None:
    loaded = {name for name in sys.modules if name.startswith("opentelemetry.sdk")}
    with telemetry({"OTEL_SERVICE_NAME": "x"}) as on:
        assert not on
        _search(built)
    with telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}) as on:
        assert not on
    assert {name for name in sys.modules if name.startswith("opentelemetry.sdk")} == loaded


def test_where_the_extra_is_missing_the_log_says_so_and_requests_go_on(
    built: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # What Python does for a module that is not there.
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.ERROR), telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) as on:
        assert not on
        _search(built)
    [record] = caplog.records
    assert "install the extra `otel`" in record.getMessage()
