"""A world for the embedders and their stage: an embedder from real files, chunk tables, and a server that gives vectors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.embed import http_client, remote, words
from pipeline.embed.static import StaticEmbedder
from pipeline.schemas import Chunks
from pipeline.stage import Artefact

MakeChunks = Callable[[Sequence[tuple[int, str, str]]], Artefact[Chunks]]


@pytest.fixture(scope="session")
def embedder() -> StaticEmbedder:
    return StaticEmbedder()


@pytest.fixture
def make_chunks(tmp_path: Path) -> MakeChunks:
    """Write a `chunks` table of (id, uri, content) in two parts, each file in one part."""

    def make(rows: Sequence[tuple[int, str, str]]) -> Artefact[Chunks]:
        parts = 2
        for part in range(parts):
            own = [
                {
                    "id": identifier,
                    "uri": uri,
                    "lang": "python",
                    "kind": "function",
                    "name": "",
                    "start_line": 1,
                    "end_line": 1,
                    "start_byte": at,
                    "end_byte": at + 1,
                    "preview": content[:20],
                    "content": content,
                    "content_hash": 0,
                }
                for at, (identifier, uri, content) in enumerate(rows)
                if tables.part_of(uri, parts) == part
            ]
            tables.write_part(tmp_path / "in" / Chunks.name, Chunks, part, pa.Table.from_pylist(own, schema=Chunks.schema))
        return Artefact("repo", Chunks.asset, "key", tmp_path / "in", Chunks.tag(), "", {})

    return make


class EmbeddingServer(ThreadingHTTPServer):
    """A real HTTP server with OpenAI's `/v1/embeddings`. A vector is the sum of its words' directions, which `model` draws.

    `script` holds what happens to the next requests instead: called with the handler, each once. `seen` are the requests that
    were answered with vectors, `asked` all.
    """

    daemon_threads = True

    def __init__(self, dimension: int = 48) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dimension = dimension
        self.model = "first"
        self.script: list[Callable[[_Handler], None]] = []
        self.seen: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.answer: Callable[[list[str]], list[dict[str, Any]]] = self.honest

    @property
    def url(self) -> str:
        """The base URL, as a setting takes it."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def vector(self, text: str) -> list[float]:
        """Not of unit length, on purpose."""
        total = np.zeros(self.dimension)
        for word in words.runs(text) or [text]:
            seed = int.from_bytes(blake2b(f"{self.model}|{word}".encode(), digest_size=8).digest())
            total += np.random.default_rng(seed).normal(size=self.dimension)
        return list(total)

    def honest(self, texts: list[str]) -> list[dict[str, Any]]:
        """The rows of an answer, last text first."""
        return [{"object": "embedding", "index": n, "embedding": self.vector(text)} for n, text in enumerate(texts)][::-1]

    @property
    def texts(self) -> list[str]:
        """All texts that got vectors, but the fixed ones by which a model is known."""
        return [text for body in self.seen for text in body["input"] if text not in remote.PROBES]

    def close(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append({"path": self.path, **{name.lower(): value for name, value in self.headers.items()}})
        if self.server.script:
            self.server.script.pop(0)(self)
            return
        asked = json.loads(self.body)
        self.server.seen.append(asked)
        self.say(200, json.dumps({"object": "list", "data": self.server.answer(asked["input"])}))

    def say(self, status: int, text: str, **headers: str) -> None:
        """Answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Be quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingServer]:
    """A server; and whoever asks one does not wait long, and remembers no probe of another test."""
    monkeypatch.setattr(http_client, "_FIRST_DELAY", 0.001)
    monkeypatch.setattr(remote, "_PROBE_EVERY", -1.0)
    running = EmbeddingServer()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.close()
