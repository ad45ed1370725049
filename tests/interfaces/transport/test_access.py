"""Who may ask: the same rules, sentences and exit codes for both servers."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pipeline.addresses import address_of, is_loopback
from pipeline.errors import CodeIntelError, ConfigError
from pipeline.interfaces.transport.access import Access, access_of
from pipeline.interfaces.transport.errors import RefusedError
from pipeline.interfaces.transport.sockets import listen
from tests.interfaces.transport.conftest import BODIES, COMMANDS, TOKEN


def test_with_a_token_only_who_has_it_is_answered(built: Any, front: Any, token_file: Path) -> None:
    path, body = BODIES[front.name]
    with front(built.store, "--token-file", str(token_file)) as served:
        for sent in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {TOKEN}"},
            {"authorization": TOKEN},
            {"authorization": "Bearer \xe9"},
        ):
            for asked in ((path, "POST", body.encode()), ("/metrics", "GET", None), ("/nowhere", "GET", None)):
                got = served.get(*asked, content_type="application/json", **sent)
                assert (got.status, got.error["code"], got.headers["www-authenticate"]) == (401, "unauthorized", "Bearer")
        assert served.get("/metrics", authorization=f"Bearer {TOKEN}").status == 200
        assert served.get("/metrics", authorization=f"bearer  {TOKEN}").status == 200
        assert TOKEN not in served.log.read_text()
        assert "not encrypted" not in served.log.read_text()


def test_what_an_orchestrator_asks_needs_no_token(built: Any, front: Any, token_file: Path) -> None:
    with front(built.store, "--token-file", str(token_file)) as served:
        assert served.get("/healthz").status == 200
        assert served.get("/readyz").status in (200, 503)
        page = [served.get(path).status for path in ("/", "/static/page.js")]
        assert page == ([200, 404] if front.name == "serve" else [401, 401])


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "", "[", "127.0.0.1@evil.example", "localhost\x7f"]
)
def test_a_name_that_was_made_to_mean_this_machine_is_refused(host: str, running: Any) -> None:
    got = running[1].get("/metrics", host=host)
    assert (got.status, got.error["code"]) == (421, "wrong_host")


def test_who_names_no_host_is_refused(running: Any) -> None:
    answer = running[1].raw(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"The request names no host." in answer


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.3.2.1:80", "[::1]:8321", "localhost."])
def test_this_machine_may_be_called_by_any_of_its_names(host: str, running: Any) -> None:
    assert running[1].get("/metrics", host=host).status == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost.evil.example", "null", "", "localhost", "http://", "http://["]
)
def test_a_page_of_somebody_else_is_refused(origin: str, running: Any) -> None:
    name, served = running
    path, body = BODIES[name]
    for asked in ((path, "POST", body.encode()), ("/metrics", "GET", None)):
        got = served.get(*asked, origin=origin, content_type="application/json")
        assert (got.status, got.error["code"]) == (403, "wrong_origin")


@pytest.mark.parametrize("origin", ["http://localhost:6274", "http://127.0.0.1", "https://[::1]:80"])
def test_a_page_of_this_machine_may_ask(origin: str, running: Any) -> None:
    assert running[1].get("/metrics", origin=origin).status == 200


def test_further_names_are_allowed_where_that_is_said(built: Any, front: Any) -> None:
    with front(built.store, "--allow-host", "Code.Example") as served:
        assert served.get("/metrics", host="code.example:443", origin="https://code.example").status == 200
        assert served.get("/metrics", host="other.example").status == 421
        assert served.get("/metrics", host="code.example", origin="https://other.example").status == 403


def test_on_other_addresses_any_name_will_do_unless_some_are_named(token_file: Path) -> None:
    given = {"host": "anything.example:80", "authorization": f"Bearer {TOKEN}"}
    open_to_all = access_of("0.0.0.0", token_file=token_file, no_token=False)
    open_to_all.check(given.get)
    open_to_all.check({**given, "origin": "https://anything.example"}.get)
    with pytest.raises(RefusedError, match=r"other\.example"):
        open_to_all.check({**given, "origin": "https://other.example"}.get)
    with pytest.raises(RefusedError, match="anything"):
        access_of("0.0.0.0", token_file=token_file, no_token=False, allowed=("a.example",)).check(given.get)


def refused(world: Any, *options: str) -> tuple[int, str]:
    """Exit code and words of both commands, which have to be the same."""
    told = [world(command, *more, *options) for command, *more in COMMANDS.values()]
    assert (told[0].code, told[0].err) == (told[1].code, told[1].err)
    return told[0].code, told[0].err


def test_a_network_is_served_only_with_a_token_or_on_purpose(world: Any) -> None:
    code, said = refused(world, "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "--token-file FILE, or --no-token" in said
    assert access_of("0.0.0.0", token_file=None, no_token=True) == Access(None, None)


def test_whoever_serves_a_network_is_told_that_nothing_is_encrypted(built: Any, front: Any, token_file: Path) -> None:
    with front(built.store, "--host", "0.0.0.0", "--token-file", str(token_file)) as served:
        assert served.get("/metrics", host="code.example").status == 401
        assert served.get("/metrics", host="code.example", authorization=f"Bearer {TOKEN}").status == 200
        (warning,) = [line for line in served.log.read_text().splitlines() if line.startswith("warning: ")]
    assert "0.0.0.0 is not encrypted" in warning and "proxy with TLS" in warning


def test_without_a_token_a_network_is_answered_where_that_is_said(built: Any, front: Any) -> None:
    with front(built.store, "--host", "0.0.0.0", "--no-token") as served:
        assert served.get("/metrics", host="code.example").status == 200


@pytest.mark.parametrize("name", ["", "https://code.example", "code.example:443", "code.example/", "a@code.example", "["])
def test_what_is_allowed_is_a_name_of_a_host(name: str, world: Any) -> None:
    code, said = refused(world, "--allow-host", name)
    assert code == 2
    assert "is no name of a host" in said
    assert access_of("127.0.0.1", token_file=None, no_token=False, allowed=("[2001:db8::1]", "Code.Example.")).hosts == {
        "127.0.0.1", "2001:db8::1", "code.example",
    }  # fmt: skip


def test_a_token_and_none_exclude_each_other(world: Any, token_file: Path) -> None:
    code, said = refused(world, "--token-file", str(token_file), "--no-token")
    assert code == 2
    assert "exclude each other" in said


@pytest.mark.parametrize("text", ["", "short", "two words that are long enough", "naïve-naïve-naïve-naïve", "x" * 5000])
def test_a_file_without_a_token_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no token"):
        access_of("127.0.0.1", token_file=path, no_token=False)


def test_a_token_that_cannot_be_a_secret_or_is_not_there_is_told(world: Any, token_file: Path) -> None:
    token_file.chmod(0o644)
    code, said = refused(world, "--token-file", str(token_file))
    assert code == 2
    assert "open to other users" in said and "chmod 600" in said
    token_file.unlink()
    code, said = refused(world, "--token-file", str(token_file))
    assert code == 2
    assert "cannot be read" in said


def test_a_port_that_is_taken_is_told(world: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, said = refused(world, "--port", str(other.getsockname()[1]))
    assert code == 1
    assert "another program listens there" in said
    assert "--port N" in said


@pytest.mark.parametrize("host", ["256.1.1.1", "no such host", "203.0.113.7", "a\0b", "x" * 300])
def test_an_address_that_is_none_of_this_machine_is_told(host: str) -> None:
    with pytest.raises(CodeIntelError, match="is no address of this machine") as raised:
        listen(host, 0)
    assert raised.value.exit_code == 2


def test_a_store_that_is_not_there_is_told(world: Any, tmp_path: Path) -> None:
    assert world._run("serve", "--data", tmp_path / "none").code == 3


def test_the_url_that_is_shown_is_where_it_listens() -> None:
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]")):
        with listen(host, 0) as listener:
            assert address_of(listener) == f"http://{shown}:{listener.getsockname()[1]}"


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(name) for name in ("127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost")] == [True] * 5
    assert [is_loopback(name) for name in ("0.0.0.0", "::", "10.0.0.1", "local.host", "")] == [False] * 5
