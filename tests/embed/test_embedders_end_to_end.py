"""Other embedders the whole way: built, published, searched, swapped, and with a server that fails in the middle."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.embed import remote
from pipeline.embed.arrays import open_arrays
from pipeline.embed.interface import Spread
from pipeline.search.channels.registry import State
from pipeline.search.engine import open_searcher
from pipeline.settings_files import from_flat
from pipeline.store.layout import Store

if TYPE_CHECKING:
    from tests.embed.conftest import EmbeddingServer


@pytest.fixture(autouse=True)
def small_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts a job, so that a build asks often."""
    monkeypatch.setattr(remote, "SPREAD", Spread(texts=2, cost=500.0, processes=False, keep_after=4))


def using(server: EmbeddingServer, **more: str) -> dict[str, str]:
    """Without an evaluation, which would ask the server, too."""
    variables = {
        "EMBEDDER": "http", "EMBED_URL": server.url, "EMBED_MODEL": "m", "EMBED_RETRIES": "1", "EVAL_QUERIES": "0", **more,
    }  # fmt: skip
    return {f"CODEINTEL_{name}": value for name, value in variables.items()}


def cached(world: Any) -> list[Path]:
    return sorted((world.store / "_shared" / "embeddings").glob("*/seg-*"))


def test_vectors_of_another_dimension_go_the_whole_way(world: Any, server: EmbeddingServer) -> None:
    environment = using(server, EMBED_DOCUMENT_PREFIX="doc: ", EMBED_QUERY_PREFIX="find: ")
    assert world.build(env=environment).code == 0
    assert all(text.startswith("doc: ") for text in server.texts)
    found = world("search", "berth fee", "--json", env=environment).json
    assert found["results"][0]["uri"] == "harbour/fees.py"
    assert found["results"][0]["explanation"]["dense"]["rank"] is not None
    assert server.texts[-1] == "find: berth fee"
    assert world("verify").code == 0
    status = world("status", "--json").json["repos"][0]
    assert status["embedder"] == "http/m" and status["vectors"] == status["chunks"]
    (dimension,) = world("sql", "SELECT DISTINCT len(embedding) AS d, typeof(embedding) AS t FROM embeddings", "--json").jsons
    assert dimension == {"d": 48, "t": "FLOAT[48]"}
    assert open_arrays(world.published)[1].shape[1] == 48
    manifest = (world.published / "manifest.json").read_text()
    assert server.url not in manifest and '"embedder": "http"' in manifest
    before = len(server.texts)
    assert not world.build(env=environment).json["built"] and len(server.texts) == before


def test_an_embedder_swapped_for_another_is_told_and_never_asked(world: Any, server: EmbeddingServer) -> None:
    environment = using(server)
    assert world.build(env=environment).code == 0
    swapped = world("search", "berth fee")
    assert swapped.code == 0 and "harbour/fees.py" in swapped.out
    assert swapped.err.count("warning") == 1 and "were made by http/m, not by the wordllama-code-256 at hand" in swapped.err
    assert "Set the embedder that built the index, or run `indexctl build`" in swapped.err
    server.model = "second"  # of the same name and dimension
    assert "were made by another state of http/m" in broken_dense(world, environment)
    assert "were made by another state" in broken_dense(world, using(server, EMBED_QUERY_PREFIX="q: "))
    version = world.version
    assert world.build(env=environment).code == 0
    assert world.version != version
    assert world("search", "berth fee", "--json", env=environment).json["channels"]["dense"]["state"] == "answered"


def broken_dense(world: Any, environment: dict[str, str]) -> str:
    """Why vectors could not answer a search, which the other channels did."""
    answer = world("search", "berth fee", "--json", env=environment).json
    told = answer["channels"]["dense"]
    assert told["state"] == "broken" and answer["channels"]["lexical"]["state"] == "answered"
    assert answer["results"][0]["uri"] == "harbour/fees.py" and "dense" not in answer["results"][0]["explanation"]
    return str(told["reason"])


def test_a_server_that_never_answers_is_asked_once_and_not_waited_for(world: Any, server: EmbeddingServer) -> None:
    environment = using(server, EMBED_QUERY_TIMEOUT="1", EMBED_TIMEOUT="600", EMBED_RETRIES="20")
    assert world.build(env=environment).code == 0
    asked, released = len(server.asked), threading.Event()
    server.script = [lambda handler: released.wait(60)] * 50
    batch = b'{"query": "berth fee"}\n{"query": "next high tide"}\n{"query": "ship"}\n'
    answers = world("search", "--batch", "-", stdin=batch, env=environment).jsons
    assert len(server.asked) == asked + 1
    assert [one["channels"]["dense"]["state"] for one in answers] == ["broken"] * 3
    assert [one["results"][0]["uri"] for one in answers] == ["harbour/fees.py", "harbour/tides.py", "harbour/ships.py"]
    human = world("search", "berth fee", env=environment)
    assert human.code == 0 and human.err.count("warning: the channel `dense` could not answer") == 1
    assert "does not answer, asked once" in human.err and len(server.asked) == asked + 2
    released.set()


def test_threads_that_search_while_a_server_is_gone_ask_it_once(world: Any, server: EmbeddingServer) -> None:
    environment = using(server)
    assert world.build(env=environment).code == 0
    asked, released = len(server.asked), threading.Event()
    server.script = [lambda handler: released.wait(60)] * 50
    given = from_flat(
        {"embedder": "http", "embed_url": server.url, "embed_model": "m", "embed_query_timeout": 1}, origin="test"
    )
    with open_searcher(Store(world.store).repository("demo"), given) as searcher, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(searcher.answer, ["berth fee"] * 8))
    assert len(server.asked) == asked + 1
    assert all(answer.hits and answer.channels["dense"].state is State.BROKEN for answer in answers)
    released.set()


def test_going_back_to_an_embedder_is_a_flip(world: Any, server: EmbeddingServer) -> None:
    first = world.version
    assert world.build(env=using(server)).code == 0 and world.version != first
    assert world.build().json["built"] == ["current"] and world.version == first
    assert world("search", "berth fee").code == 0


def test_how_a_server_is_asked_is_no_part_of_a_version(world: Any, server: EmbeddingServer) -> None:
    assert world.build(env=using(server)).code == 0
    version = world.version
    done = world.build(env=using(server, EMBED_BATCH_SIZE="3", EMBED_TIMEOUT="9", EMBED_REQUESTS="1"))
    assert not done.json["built"] and world.version == version


def test_another_prefix_for_queries_embeds_no_document_again(world: Any, server: EmbeddingServer) -> None:
    assert world.build(env=using(server)).code == 0
    before = len(server.texts)
    done = world.build(env=using(server, EMBED_QUERY_PREFIX="find: "))
    assert "embeddings" in done.json["built"] and server.texts[before:] == []


def test_a_server_that_fails_in_the_middle_loses_nothing_and_publishes_nothing(world: Any, server: EmbeddingServer) -> None:
    environment = using(server)
    version = world.version
    objects = {path.name for path in (world.home / "objects" / "embeddings").iterdir()}
    answered = 0
    honest = server.answer

    def failing(texts: list[str]) -> list[dict[str, Any]]:
        nonlocal answered
        answered += texts[0] not in remote.PROBES
        if answered > 3:
            server.script = [lambda handler: handler.say(503, "out of memory")] * 2
            raise ConnectionError
        return honest(texts)

    server.answer = failing
    server.handle_error = lambda request, address: None  # type: ignore[method-assign]
    done = world.build(env=environment)
    assert done.code == 1
    assert "does not answer, asked 2 times: it answered 503: out of memory" in done.err and server.url in done.err
    assert "what was embedded so far is kept, and CURRENT is unchanged" in done.err
    assert world.version == version and world("verify").code == 0
    assert {path.name for path in (world.home / "objects" / "embeddings").iterdir()} == objects
    kept = server.texts[:6]
    assert len(kept) == 6 and cached(world)
    server.answer = honest
    before = len(server.texts)
    assert world.build(env=environment).code == 0
    assert not set(server.texts[before:]) & set(kept)
    assert world("search", "berth fee", env=environment).code == 0


def test_a_server_that_is_gone_takes_no_reading_command_down_that_needs_no_vector(world: Any, server: EmbeddingServer) -> None:
    environment = using(server)
    assert world.build(env=environment).code == 0
    server.close()
    for command in (("status", "--json"), ("verify",), ("versions",), ("symbols", "berth_fee")):
        assert world(*command, env=environment).code == 0
    planned = world("plan", world.repo, env=environment)
    assert planned.code == 1 and "does not answer" in planned.err
    assert "does not answer, asked once" in broken_dense(world, environment)


def test_a_vector_that_is_zero_reaches_neither_cache_nor_version(world: Any, server: EmbeddingServer) -> None:
    before, version = cached(world), world.version
    honest = server.answer

    def zero(texts: list[str]) -> list[dict[str, Any]]:
        found = honest(texts)
        if texts[0] not in remote.PROBES:
            found[0]["embedding"] = [0.0] * server.dimension
        return found

    server.answer = zero
    done = world.build(env=using(server))
    assert done.code == 1 and "zero or not finite" in done.err
    assert cached(world) == before and world.version == version


@pytest.mark.parametrize("name", ["embedder", "embed_url", "embed_model", "embed_trust_remote_code", "embed_api_key_variable"])
def test_a_repository_chooses_no_embedder(world: Any, server: EmbeddingServer, name: str) -> None:
    value = {"embedder": '"http"', "embed_trust_remote_code": "true"}.get(name, f'"{server.url}"')
    (world.repo / "codeintel.toml").write_text(f"{name} = {value}\n")
    done = world.build()
    assert done.code == 2 and f"`{name}` cannot be set by a repository" in done.err
    (world.repo / "codeintel.toml").unlink()
    (world.store / "codeintel.toml").write_text(f'embedder = "http"\nembed_url = "{server.url}"\nembed_model = "m"\n')
    assert world.build().code == 0 and server.texts


def test_a_server_that_is_silent_while_the_index_is_evaluated_is_no_result_of_it(world: Any, server: EmbeddingServer) -> None:
    environment = using(server, EMBED_QUERY_PREFIX="find: ", EVAL_QUERIES="400")
    honest, version = server.answer, world.version

    def failing(texts: list[str]) -> list[dict[str, Any]]:
        if texts[0].startswith("find: "):
            raise ConnectionError
        return honest(texts)

    server.answer = failing
    server.handle_error = lambda request, address: None  # type: ignore[method-assign]
    done = world.build(env=environment)
    assert done.code == 1 and "cannot be evaluated" in done.err and server.url in done.err
    assert "Build again when the server answers" in done.err and world.version == version
    server.answer = honest
    assert world.build(env=environment).code == 0 and world.version != version
