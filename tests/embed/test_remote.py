"""The embedder `http`, against a real server: what is sent, what is refused, what is tried again, what is noticed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.config import EmbedSettings
from pipeline.embed import http_client, registry, remote
from pipeline.embed.remote import RemoteEmbedder
from pipeline.errors import CodeIntelError, ConfigError, IndexFormatError, RuntimeLifecycleError

if TYPE_CHECKING:
    from tests.embed.conftest import EmbeddingServer

KEY = "sk-very-secret-0123456789"
TEXTS = ["def read(path): ...", "", "class Ship", "日本語", "\ud800 lone", "read read read"]


def settings_for(server: EmbeddingServer, **changes: Any) -> EmbedSettings:
    given = {"embedder": "http", "embed_url": server.url, "embed_model": "m", "embed_timeout": 5, **changes}
    return EmbedSettings(**given)


def unit(server: EmbeddingServer, texts: list[str]) -> np.ndarray:
    rows = np.array([server.vector(text) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def saying(status: int, text: str = "", **headers: str) -> Callable[[Any], None]:
    return lambda handler: handler.say(status, text, **headers)


def hang_up(handler: Any) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def test_vectors_are_unit_rows_in_the_order_of_the_texts(server: EmbeddingServer) -> None:
    for size in (1, 2, 100):
        embedder = RemoteEmbedder(settings_for(server, embed_batch_size=size))
        vectors = embedder.encode(TEXTS)
        assert vectors.dtype == np.float32 and embedder.dimension == 48
        assert np.allclose(vectors, unit(server, [text.replace("\ud800", "?") for text in TEXTS]), atol=1e-6)
        assert max(len(body["input"]) for body in server.seen) <= max(size, len(remote.PROBES))
    assert embedder.encode([]).shape == (0, 48)
    assert {(asked["path"], asked["content-type"]) for asked in server.asked} == {("/v1/embeddings", "application/json")}
    assert server.seen[0].keys() == {"model", "input", "encoding_format"} and server.seen[0]["model"] == "m"
    assert not any("authorization" in asked for asked in server.asked)


def test_documents_and_queries_have_their_own_prefixes(server: EmbeddingServer) -> None:
    embedder = RemoteEmbedder(settings_for(server, embed_document_prefix="doc: ", embed_query_prefix="find: "))
    embedder.encode(["a"])
    embedder.encode_queries(["b"])
    assert server.texts == ["doc: a", "find: b"]


def test_a_limit_of_tokens_is_asked_for(server: EmbeddingServer) -> None:
    RemoteEmbedder(settings_for(server, embed_max_tokens=77)).encode(["a"])
    assert {body["truncate_prompt_tokens"] for body in server.seen} == {77}


@pytest.mark.parametrize(
    "trouble",
    [saying(429), saying(500, "busy"), saying(502), saying(503, Retry_After="0"), saying(504), saying(408), hang_up],
    ids=["429", "500", "502", "503", "504", "408", "hang up"],
)
def test_what_passes_is_tried_again(server: EmbeddingServer, trouble: Callable[[Any], None]) -> None:
    embedder = RemoteEmbedder(settings_for(server))
    server.script = [trouble, trouble]
    assert np.allclose(embedder.encode(["a"]), unit(server, ["a"]), atol=1e-6)


def test_a_server_that_says_nothing_is_given_up(server: EmbeddingServer) -> None:
    embedder = RemoteEmbedder(settings_for(server, embed_timeout=1, embed_retries=1))
    done = threading.Event()
    server.script = [lambda handler: done.wait(30)] * 2  # type: ignore[list-item, return-value]
    with pytest.raises(RuntimeLifecycleError, match=r"asked 2 times: (.*timed out|no answer)"):
        embedder.encode(["a"])
    done.set()


def test_an_answer_that_drips_without_end_is_given_up(server: EmbeddingServer) -> None:
    done, sent = threading.Event(), []

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not done.wait(0.05):
                handler.wfile.write(b" ")
                sent.append(1)

    endpoint = http_client.Endpoint(f"{server.url}/embeddings", "", 1, 0)
    server.script = [drip]
    with pytest.raises(RuntimeLifecycleError, match="no answer in 1 s"):
        http_client.post(endpoint, b"{}")
    assert len(sent) > 1
    done.set()


def test_an_answer_that_breaks_off_is_tried_again(server: EmbeddingServer) -> None:
    def break_off(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"data": []}')

    server.script = [break_off]
    assert http_client.post(http_client.Endpoint(f"{server.url}/embeddings", "", 5, 1), b'{"input": []}').startswith(b"{")
    server.script = [break_off]
    with pytest.raises(RuntimeLifecycleError, match="IncompleteRead"):
        http_client.post(http_client.Endpoint(f"{server.url}/embeddings", "", 5, 0), b'{"input": []}')


def test_the_server_says_how_long_to_wait(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", lambda delay: waited.append(delay))
    server.script = [saying(429, Retry_After="7"), saying(503, Retry_After="900"), saying(503, Retry_After="soon"), saying(500)]
    endpoint = http_client.Endpoint(f"{server.url}/embeddings", "", 5, 4, stop)
    remote.request(settings_for(server), ["a"], endpoint)
    assert waited == [7.0, 60.0, 0.004, 0.008]


def test_nothing_is_tried_again_once_another_request_has_failed(server: EmbeddingServer) -> None:
    endpoint = http_client.Endpoint(f"{server.url}/embeddings", "", 5, 10)
    endpoint.stop.set()
    server.script = [saying(503)] * 10
    with pytest.raises(RuntimeLifecycleError):
        http_client.post(endpoint, b"{}")
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_named_with_the_way_out() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        settings = EmbedSettings(embedder="http", embed_url=url, embed_model="m", embed_retries=0)
        with pytest.raises(RuntimeLifecycleError, match=r"does not answer, asked once: .*refused") as caught:
            registry.load(settings)
    assert url in str(caught.value) and "Start the server" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error", "named"),
    [
        (400, RuntimeLifecycleError, "embed_max_tokens"),
        (413, RuntimeLifecycleError, "embed_batch_size"),
        (401, ConfigError, "CODEINTEL_TEST_KEY"),
        (403, ConfigError, "CODEINTEL_TEST_KEY"),
        (404, ConfigError, "embed_model"),
        (302, ConfigError, "Redirects"),
    ],
)
def test_a_refusal_is_told_once_and_never_with_the_key(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch, status: int, error: type[CodeIntelError], named: str
) -> None:
    monkeypatch.setenv("CODEINTEL_TEST_KEY", KEY)
    embedder = RemoteEmbedder(settings_for(server, embed_api_key_variable="CODEINTEL_TEST_KEY"))
    before = len(server.asked)
    server.script = [saying(status, f'{{"error": "no\x1b[31m such\nthing {KEY}"}}', Location=f"{server.url}/elsewhere")]
    with pytest.raises(error) as caught:
        embedder.encode(["a"])
    told = str(caught.value)
    assert named in told and str(status) in told and "such thing …" in told
    assert KEY not in told and "\x1b" not in told and "\n" not in told
    assert len(server.asked) == before + 1
    assert server.asked[-1]["authorization"] == f"Bearer {KEY}"


def test_a_key_that_is_missing_or_no_key_is_named_and_not_shown(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(server, embed_api_key_variable="CODEINTEL_TEST_KEY")
    monkeypatch.delenv("CODEINTEL_TEST_KEY", raising=False)
    with pytest.raises(ConfigError, match="CODEINTEL_TEST_KEY, which is not set"):
        registry.load(settings)
    monkeypatch.setenv("CODEINTEL_TEST_KEY", f"{KEY}\r\nX-Other: 1")
    with pytest.raises(ConfigError, match="cannot be a key") as caught:
        registry.load(settings)
    assert KEY not in str(caught.value) and not server.asked


@pytest.mark.parametrize(
    "url",
    "ftp://h/v1 file:///etc/passwd h:80/v1 http:// http://h:x/v1 http://h/ü http://u:p@h/v1 http://h/?k=s3cret http://h/#s3cret".split(),
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="embed_url") as caught:
        registry.load(EmbedSettings(embedder="http", embed_url=url, embed_model="m"))
    assert "s3cret" not in str(caught.value) and "u:p" not in str(caught.value)


def test_a_model_and_with_no_probe_a_dimension_must_be_given(server: EmbeddingServer) -> None:
    for changes, named in (({"embed_model": ""}, "embed_model"), ({"embed_probe": False}, "embed_dimension")):
        with pytest.raises(ConfigError, match=named):
            registry.load(settings_for(server, **changes))


def rows(*vectors: Any) -> list[dict[str, Any]]:
    return [{"index": number, "embedding": vector} for number, vector in enumerate(vectors)]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (rows([1.0, 2.0]), RuntimeLifecycleError, "1 vectors"),
        (rows([1.0], [1.0], [1.0]), RuntimeLifecycleError, "3 vectors"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}], RuntimeLifecycleError, "2 vectors"),
        (rows([0.0, 0.0], [1.0, 0.0]), IndexFormatError, "zero or not finite"),
        (rows([float("nan"), 0.0], [1.0, 0.0]), RuntimeLifecycleError, "no list of vectors"),
        (rows([None, 0.0], [1.0, 0.0]), RuntimeLifecycleError, "no list of vectors"),
        (rows("AAAA", "BBBB"), RuntimeLifecycleError, "no list of vectors"),
        (rows([1.0, 2.0], [1.0]), ConfigError, "dimension 1, 2"),
        (rows([], []), ConfigError, "dimension 0"),
    ],
)
def test_an_answer_that_is_not_one_vector_a_text_is_refused(
    server: EmbeddingServer, answer: list[dict[str, Any]], error: type[CodeIntelError], message: str
) -> None:
    server.answer = lambda texts: answer
    with pytest.raises(error, match=message):
        registry.load(settings_for(server))


def test_what_is_no_answer_of_such_a_server_is_refused(server: EmbeddingServer) -> None:
    for text in ("<html>", "{}", json.dumps({"embeddings": [[1.0]]})):
        server.script = [saying(200, text)]
        with pytest.raises(RuntimeLifecycleError, match="OpenAI-compatible"):
            registry.load(settings_for(server))


def test_another_dimension_than_the_settings_say_is_refused(server: EmbeddingServer) -> None:
    assert registry.load(settings_for(server, embed_dimension=48)).dimension == 48
    with pytest.raises(ConfigError, match="dimension 48, and not of 47"):
        registry.load(settings_for(server, embed_dimension=47))


def test_the_digest_tells_models_addresses_and_prefixes_apart_and_nothing_else(server: EmbeddingServer) -> None:
    def digest(**changes: Any) -> str:
        return registry.embedder_digest(settings_for(server, **changes))

    first = digest()
    assert first == digest(embed_batch_size=1, embed_timeout=9, embed_retries=0, embed_requests=1) == digest()
    assert first == registry.load(settings_for(server)).digest
    prefixed = {digest(embed_query_prefix="q"), digest(embed_document_prefix="q"), digest(embed_max_tokens=5)}
    assert len(prefixed | {first, digest(embed_model="n")}) == 5
    server.model = "second"
    assert digest() != first


def test_another_prefix_for_queries_leaves_the_documents_vectors_as_they_are(server: EmbeddingServer) -> None:
    plain, asked = (RemoteEmbedder(settings_for(server, embed_query_prefix=prefix)) for prefix in (None, "find: "))
    assert plain.digest != asked.digest and plain.document_digest == asked.document_digest
    other = RemoteEmbedder(settings_for(server, embed_document_prefix="doc: "))
    assert other.document_digest != plain.document_digest


def test_without_a_probe_the_digest_asks_nobody(server: EmbeddingServer) -> None:
    settings = settings_for(server, embed_probe=False, embed_dimension=48)
    assert registry.embedder_digest(settings) == registry.load(settings).digest
    assert not server.asked
    registry.load(settings).encode(["a"])
    assert server.texts == ["a"] and len(server.asked) == 1


def test_a_model_that_changes_at_work_is_noticed(server: EmbeddingServer) -> None:
    embedder = RemoteEmbedder(settings_for(server))
    embedder.encode(["a"])
    server.model = "second"
    for encode in (embedder.encode, embedder.encode_queries):
        with pytest.raises(RuntimeLifecycleError, match="another model named m than before"):
            encode(["a"])
    server.dimension = 12
    with pytest.raises(RuntimeLifecycleError, match="another model named m than before"):
        embedder.encode_queries(["a"])


def test_the_fingerprint_bears_noise_and_tells_models_apart() -> None:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(400, 2, 384))
    noisy = vectors * (1 + 1e-6 * random.normal(size=vectors.shape))
    of = [[remote.fingerprint_of(np.asarray(row, np.float32)) for row in some] for some in (vectors, noisy)]
    assert of[0] == of[1]
    assert len(set(of[0])) == 400 and all(len(one) == 8 for one in of[0])


def test_several_requests_are_on_their_way_at_once(server: EmbeddingServer) -> None:
    together = threading.Barrier(3, timeout=20)
    honest = server.answer

    def meeting(texts: list[str]) -> list[dict[str, Any]]:
        if texts[0] not in remote.PROBES:
            together.wait()
        return honest(texts)

    embedder = RemoteEmbedder(settings_for(server, embed_batch_size=1, embed_requests=3, embed_timeout=30))
    server.answer = meeting
    assert np.allclose(embedder.encode(["a", "b", "c"]), unit(server, ["a", "b", "c"]), atol=1e-6)


def test_a_probe_is_asked_for_again_only_after_a_while(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PROBE_EVERY", 300.0)
    settings = settings_for(server)
    registry.load(settings).encode_queries(["a"])
    assert registry.embedder_digest(settings) and len(server.asked) == 2
    later = time.monotonic() + 301
    monkeypatch.setattr(remote.time, "monotonic", lambda: later)
    registry.load(settings).encode_queries(["a"])
    assert len(server.asked) > 3
