"""Vectors from a server with OpenAI's `/embeddings`: vLLM, text-embeddings-inference, Ollama, or a hosted one.

A server says no more about its model than a name, so the digest is made of what can be known: the address, the name, the
dimension, prefixes, and a *fingerprint*: 32 signs of projections of the vectors of two fixed texts. What it knows and does not:

* A model of another dimension or family behind the same name has another fingerprint.
* A close relative may have the same one: of pairs of vectors whose cosine is .99, three in four have another (`docs`).
* The same weights in another precision may have another; then everything is embedded again, which is slow and not wrong.

So the vectors of the two texts are asked for again after each job, and by a process that goes on asking queries every five
minutes: when their cosine with the first ones is below `SAME`, the server has another model now.

Belongs here: requests, answers, the fingerprint. Not here: transport (`http_client`).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec
import numpy as np

from pipeline.config import EmbedSettings
from pipeline.embed import model_folder
from pipeline.embed.http_client import Endpoint, checked_url, post
from pipeline.embed.interface import Spread, Vectors, unit_rows, valid_text
from pipeline.errors import ConfigError, RuntimeLifecycleError

ALGORITHM = "1"
"""Rises whenever a request asks for something else; part of the embedder's digest."""
LIBRARIES: tuple[str, ...] = ()
SPREAD = Spread(texts=512, cost=500.0, processes=False, keep_after=4096)
SAME = 0.999
"""The least cosine of two vectors of one text by one model: precision of 16 bits and other batches stay above."""
PROBES = (
    "def read_settings(path):\n    with open(path) as file:\n        return json.load(file)",
    "Where are expired sessions removed from the database?",
)
_PROBE_EVERY = 300.0
"""Seconds."""
_BITS = 16
"""Of each probe."""


class Probe(NamedTuple):
    """What a server says to the fixed texts: unit vectors, float32 [2, d], and their signs."""

    vectors: Vectors
    fingerprint: str


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


_probed: dict[EmbedSettings, tuple[float, Probe]] = {}
_probing = threading.Lock()


def load(settings: EmbedSettings) -> RemoteEmbedder:
    """The embedder, ready to encode. Raises what the class says."""
    return RemoteEmbedder(settings)


def digests_of(settings: EmbedSettings) -> tuple[str, str]:
    """Digest of the embedder, and that of what its documents depend on.

    Asks the server for two vectors, unless that was done a short while ago or `embed_probe` is off.
    """
    _check(settings)
    fingerprint = "none"
    dimension = settings.embed_dimension
    if settings.embed_probe:
        probe = _probe_of(settings)
        fingerprint, dimension = probe.fingerprint, probe.vectors.shape[1]
    written = model_folder.prefixes(None, settings)
    document = model_folder.digest_recipe(
        "http",
        ALGORITHM,
        settings.embed_url.rstrip("/"),
        settings.embed_model,
        dimension,
        written.document,
        settings.embed_max_tokens,
        fingerprint,
    )
    return model_folder.digest_recipe(document, written.query), document


def _check(settings: EmbedSettings) -> None:
    if not settings.embed_url or not settings.embed_model:
        raise ConfigError(
            "The embedder `http` needs `embed_url` and `embed_model`.",
            hint="For example http://127.0.0.1:8000/v1 and the model's name at that server.",
        )
    checked_url(settings.embed_url)
    if not settings.embed_probe and not settings.embed_dimension:
        raise ConfigError("`embed_probe` is off, so the dimension is unknown.", hint="Set `embed_dimension`.")


def fingerprint_of(vectors: Vectors) -> str:
    """Signs of 16 fixed projections of each row, in hexadecimal. Signs, because rounding finer digits is less stable."""
    dimension = vectors.shape[1]
    drawn = np.frombuffer(hashlib.shake_256(b"codeintel probe").digest(dimension * _BITS // 8 + 1), np.uint8)
    directions = np.unpackbits(drawn)[: dimension * _BITS].reshape(_BITS, dimension).astype(np.float64) * 2 - 1
    return np.packbits(vectors.astype(np.float64) @ directions.T > 0).tobytes().hex()


def _probe_of(settings: EmbedSettings, *, now: bool = False) -> Probe:
    """The server's probe, remembered for a while; `now` asks it anew."""
    with _probing:
        known = _probed.get(settings)
        if known is not None and not now and time.monotonic() - known[0] < _PROBE_EVERY:
            return known[1]
        vectors = request(settings, PROBES, _endpoint(settings))
        probe = Probe(vectors, fingerprint_of(vectors))
        _probed[settings] = (time.monotonic(), probe)
        return probe


def _endpoint(settings: EmbedSettings) -> Endpoint:
    return Endpoint(
        f"{settings.embed_url.rstrip('/')}/embeddings",
        settings.embed_api_key_variable,
        settings.embed_timeout,
        settings.embed_retries,
    )


def request(settings: EmbedSettings, texts: Sequence[str], endpoint: Endpoint) -> Vectors:
    """Unit vectors of texts by one request: float32 [n, d]. Raises what `post` raises, and for an answer that is none."""
    asked: dict[str, Any] = {"model": settings.embed_model, "input": list(texts), "encoding_format": "float"}
    if settings.embed_max_tokens:
        asked["truncate_prompt_tokens"] = settings.embed_max_tokens
    body = post(endpoint, msgspec.json.encode(asked))
    try:
        rows = sorted(msgspec.json.decode(body, type=_Answer).data, key=lambda row: row.index)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad_answer(endpoint, f"with what is no list of vectors: {error}") from None
    if [row.index for row in rows] != list(range(len(texts))):
        raise _bad_answer(endpoint, f"with {len(rows)} vectors, not with one for each of {len(texts)} texts")
    lengths = {len(row.embedding) for row in rows}
    expected = settings.embed_dimension or max(lengths)
    if lengths != {expected} or not expected:
        found = ", ".join(map(str, sorted(lengths)))
        raise ConfigError(
            f"The embedding server at {endpoint.url} gives vectors of dimension {found}, and not of {expected}.",
            hint="Set `embed_dimension` to that of the model, or 0; or use another model.",
        )
    return unit_rows(np.array([row.embedding for row in rows], np.float64), f"The embedding server at {endpoint.url}")


def _bad_answer(endpoint: Endpoint, what: str) -> RuntimeLifecycleError:
    return RuntimeLifecycleError(
        f"The embedding server at {endpoint.url} answers {what}.",
        hint="`embed_url` must be that of an OpenAI-compatible server, without `/embeddings`.",
    )


class RemoteEmbedder:
    """An `Embedder` that asks a server; may be used from several threads."""

    def __init__(self, settings: EmbedSettings) -> None:
        self._settings = settings
        self._digest, self._document_digest = digests_of(settings)
        self._probe = _probe_of(settings) if settings.embed_probe else None
        self._dimension = settings.embed_dimension if self._probe is None else int(self._probe.vectors.shape[1])
        self._prefixes = model_folder.prefixes(None, settings)
        self._checked = time.monotonic()

    @property
    def name(self) -> str:
        """`http/MODEL`."""
        return f"http/{self._settings.embed_model}"

    @property
    def dimension(self) -> int:
        """As the server answers."""
        return self._dimension

    @property
    def digest(self) -> str:
        """Of address, name, dimension, prefixes and fingerprint."""
        return self._digest

    @property
    def document_digest(self) -> str:
        """The same without the prefix of queries."""
        return self._document_digest

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents: float32 [n, d], unit rows. Raises `RuntimeLifecycleError` when the server fails or changes."""
        rows = self._ask(texts, self._prefixes.document)
        self._still_the_same()
        return rows

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Vectors of queries, with their own prefix."""
        rows = self._ask(queries, self._prefixes.query)
        if time.monotonic() - self._checked > _PROBE_EVERY:
            self._still_the_same()
        return rows

    def _ask(self, texts: Sequence[str], prefix: str) -> Vectors:
        size = self._settings.embed_batch_size
        written = [valid_text(prefix + text) for text in texts]
        batches = [written[start : start + size] for start in range(0, len(written), size)]
        endpoint = _endpoint(self._settings)
        if len(batches) == 1:
            found = [request(self._settings, batches[0], endpoint)]
        else:
            with ThreadPoolExecutor(self._settings.embed_requests) as pool:
                try:
                    found = list(pool.map(lambda batch: request(self._settings, batch, endpoint), batches))
                except BaseException:
                    # Nobody waits any more: what is under way ends with its present try.
                    endpoint.stop.set()
                    raise
        for rows in found:
            if rows.shape[1] != self._dimension:
                raise self._changed()
        return np.concatenate([np.empty((0, self._dimension), np.float32), *found])

    def _still_the_same(self) -> None:
        if self._probe is None:
            return
        now = _probe_of(self._settings, now=True)
        if now.vectors.shape != self._probe.vectors.shape or ((now.vectors * self._probe.vectors).sum(axis=1) < SAME).any():
            raise self._changed()
        self._checked = time.monotonic()

    def _changed(self) -> RuntimeLifecycleError:
        return RuntimeLifecycleError(
            f"The server at {self._settings.embed_url} has another model named {self._settings.embed_model} than before.",
            hint="Run `indexctl build` again: it embeds with the model that is there now.",
        )
