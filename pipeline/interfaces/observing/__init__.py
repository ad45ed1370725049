"""Watching a server at work: metrics, logs, spans and readiness, each in a module of its own.

Nothing here is imported by the engine, or by commands that answer and end.
"""
