"""Watching a server at work: metrics, logs, spans and readiness, each in a module of its own.

Nothing here is imported by the engine, or by commands that answer and end.
"""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `prometheus.metrics_text` gives; here for those who only hand it on."""
