"""The service from its start to its end, while the index moves under it."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.release.switching import switch
from pipeline.store.layout import open_store

BUSY = "/search?query=where+is+the+berth+fee+worked+out&explain=true&content=true&k=100"


@pytest.fixture
def flipping(world: Any) -> tuple[Any, str, str]:
    """A world with two versions, the second one current."""
    first = world.version
    (world.repo / "harbour" / "pilots.py").write_text('def pilot_fee():\n    """What the pilot is paid."""\n    return 7\n')
    assert world.build().code == 0
    return world, first, world.version


@contextlib.contextmanager
def asking(served: Any, path: str, clients: int) -> Iterator[list[Any]]:
    """Ask on kept connections, over and over, as long as the block runs; what came is in the list."""
    ended, got = threading.Event(), []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        with contextlib.closing(connection):
            while not ended.is_set():
                try:
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    got.append((answer.status, json.loads(answer.read()), answer.headers.get("connection")))
                    if answer.headers.get("connection") == "close":
                        return
                except (http.client.HTTPException, OSError) as error:
                    got.append((0, repr(error), None))
                    return

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_no_request_fails_while_versions_flip(flipping: Any, serve: Any) -> None:
    world, first, second = flipping
    repository = open_store(world.store).existing("demo")
    with serve(world.store) as served, asking(served, BUSY, 4) as got:
        for name in (first, second, first, second):
            switch(repository, name, reason="test")
            until = time.monotonic() + 60
            while served.get("/status").json["repos"][0]["version"] != name:
                assert time.monotonic() < until
                time.sleep(0.05)
            before = len(got)
            while len(got) < before + 20:
                time.sleep(0.01)
    assert {status for status, *_ in got} == {200}
    assert {said["version"] for _, said, _ in got} == {first, second}


def test_a_version_is_asked_by_name_whatever_is_current(flipping: Any, serve: Any) -> None:
    world, first, second = flipping
    with serve(world.store) as served:
        listed = served.get("/versions").json
        assert [(row["version"], row["current"]) for row in listed["versions"]] == [(second, True), (first, False)]
        found = {name: served.get(f"/files/harbour/pilots.py?version={name}").status for name in (first, second)}
        assert found == {first: 404, second: 200}
        assert len(served.get(f"/quality?version={first[:8]}").json["history"]) == 2


def test_a_rebuild_shows_without_a_restart(world: Any, serve: Any) -> None:
    with serve(world.store) as served:
        assert served.get("/symbols/pilot_fee").status == 404
        (world.repo / "harbour" / "pilots.py").write_text("def pilot_fee():\n    return 7\n")
        assert world.build().code == 0
        until = time.monotonic() + 60
        while served.get("/symbols/pilot_fee").status != 200:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_finishes_what_runs_and_ends_well(how: signal.Signals, built: Any, serve: Any) -> None:
    with serve(built.store) as served:
        idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(5)]
        with asking(served, BUSY, 6) as got:
            while len(got) < 50:
                time.sleep(0.01)
            begun = time.monotonic()
            served.process.send_signal(how)
            assert served.process.wait(30) == 0
        assert time.monotonic() - begun < 15
        # A request may meet a connection that closes; none is answered by half or with an error.
        assert {status for status, *_ in got} <= {0, 200}
        assert all(status == 200 for status, *_ in got[:50])
        assert sum(closing == "close" for *_, closing in got) or sum(status == 0 for status, *_ in got)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", served.port))
        for connection in idle:
            connection.close()
        assert "Traceback" not in served.log.read_text()


def test_a_client_that_never_ends_does_not_keep_it_from_ending(built: Any, serve: Any) -> None:
    with serve(built.store, graceful=1, body_seconds=60) as served:
        head = b"POST /search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(head)
            time.sleep(0.3)
            assert served.ended(20) == 0
            connection.settimeout(10)
            assert b'"code":"ending"' in connection.recv(1 << 16)


def test_a_damaged_index_is_told_and_answers_again_when_it_is_repaired(world: Any, serve: Any) -> None:
    with serve(world.store) as served:
        assert served.get("/search?query=ship").status == 200
        whole = world.store.with_name("whole")
        shutil.copytree(world.published, whole, symlinks=True)
        shutil.rmtree(world.published)
        gone = served.get("/search?query=ship")
        assert gone.status in (404, 503), gone.body
        assert gone.error["hint"]
        assert served.get("/readyz").status == 503
        assert served.get("/healthz").status == 200
        shutil.copytree(whole, world.published, symlinks=True)
        assert served.get("/search?query=ship").status == 200
        assert served.process.poll() is None


def test_a_file_that_is_cut_under_the_service_is_told(world: Any, serve: Any) -> None:
    damaged = [path for path in (world.published / "chunks").rglob("*") if path.is_file()]
    for path in damaged:
        path.unlink()
        path.write_bytes(b"no Parquet")
    with serve(world.store) as served:
        chunk = served.get("/search?query=ship&k=1")
        lines = served.get("/files/harbour/ships.py")
        assert lines.status == 503, lines.body
        assert (lines.error["code"], lines.headers["retry-after"]) == ("unavailable", "1")
        assert chunk.status in (200, 503)
        assert served.get("/healthz").status == 200


def test_a_store_without_an_index_says_that_it_is_not_ready(world: Any, serve: Any) -> None:
    shutil.rmtree(world.home)
    with serve(world.store) as served:
        ready = served.get("/readyz")
        assert (ready.status, ready.json["ready"]) == (503, False)
        assert served.get("/search?query=ship").status == 404
        assert served.get("/status").json == {"repos": []}


def test_many_clients_at_once_are_all_answered(served: Any) -> None:
    paths = [BUSY, "/status", "/symbols/Ship", "/quality", "/versions", "/files/harbour/ships.py", "/readyz", "/metrics"] * 12
    with ThreadPoolExecutor(24) as pool:
        assert [got.body for got in pool.map(served.get, paths) if got.status != 200] == []
