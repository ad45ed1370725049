"""Who may ask the service."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from pipeline.addresses import address_of, is_loopback
from pipeline.errors import CodeIntelError, ConfigError
from pipeline.interfaces.http.access import Access, access_of
from pipeline.interfaces.http.errors import RefusedError
from pipeline.interfaces.http.server import listen

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token, for its owner alone."""
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


def test_with_a_token_only_who_has_it_is_answered(built: Any, serve: Any, token_file: Path) -> None:
    with serve(built.store, "--token-file", str(token_file)) as served:
        for sent in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}, {"authorization": TOKEN}):
            got = served.get("/search?query=ship", **sent)
            assert (got.status, got.error["code"], got.headers["www-authenticate"]) == (401, "unauthorized", "Bearer")
        assert served.get("/search?query=ship", authorization=f"Bearer {TOKEN}").status == 200
        assert served.get("/status", authorization=f"bearer  {TOKEN}").status == 200
        assert served.get("/healthz").status == 200
        # While it is still opening its index, it is not ready.
        assert served.get("/readyz").status in (200, 503)
        assert [served.get(path).status for path in ("/metrics", "/openapi.json", "/nowhere")] == [401, 401, 401]
        assert TOKEN not in served.log.read_text()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example", "", "[", "127.0.0.1@evil.example"]
)
def test_a_name_that_was_made_to_mean_this_machine_is_refused(host: str, served: Any) -> None:
    got = served.get("/search?query=ship", host=host)
    assert (got.status, got.error["code"]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.3.2.1:80", "[::1]:8321", "localhost."])
def test_this_machine_may_be_called_by_any_of_its_names(host: str, served: Any) -> None:
    assert served.get("/healthz", host=host).status == 200


def test_further_names_are_allowed_where_that_is_said(built: Any, serve: Any) -> None:
    with serve(built.store, "--allow-host", "Code.Example") as served:
        assert served.get("/healthz", host="code.example:443").status == 200
        assert served.get("/healthz", host="other.example").status == 421


def test_on_other_addresses_any_name_will_do_unless_some_are_named(token_file: Path) -> None:
    def header(name: str) -> str | None:
        return {"host": "anything.example", "authorization": f"Bearer {TOKEN}"}.get(name)

    access_of("0.0.0.0", token_file=token_file, no_token=False).check("/search", header)
    with pytest.raises(RefusedError, match="anything"):
        access_of("0.0.0.0", token_file=token_file, no_token=False, allowed=("a.example",)).check("/search", header)


def test_a_network_is_served_only_with_a_token_or_on_purpose(world: Any) -> None:
    refused = world("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.code == 2
    assert "--token-file FILE, or --no-token" in refused.err
    assert access_of("0.0.0.0", token_file=None, no_token=True) == Access(None, None)


def test_a_token_and_none_exclude_each_other(token_file: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        access_of("127.0.0.1", token_file=token_file, no_token=True)


@pytest.mark.parametrize("text", ["", "short", "two words that are long enough", "naïve-naïve-naïve-naïve", "x" * 5000])
def test_a_file_without_a_token_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no token"):
        access_of("127.0.0.1", token_file=path, no_token=False)


def test_a_token_that_others_may_read_is_refused(token_file: Path) -> None:
    token_file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"open to other users.*chmod 600"):
        access_of("127.0.0.1", token_file=token_file, no_token=False)


def test_a_token_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        access_of("127.0.0.1", token_file=tmp_path / "none", no_token=False)


def test_a_port_that_is_taken_is_told(world: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        refused = world("serve", "--port", str(other.getsockname()[1]))
    assert refused.code == 1
    assert "another program listens there" in refused.err
    assert "--port N" in refused.err


@pytest.mark.parametrize("host", ["256.1.1.1", "no such host", "203.0.113.7"])
def test_an_address_that_is_none_of_this_machine_is_told(host: str) -> None:
    with pytest.raises(CodeIntelError, match="is no address of this machine"):
        listen(host, 0)


def test_a_store_that_is_not_there_is_told(world: Any, tmp_path: Path) -> None:
    refused = world._run("serve", "--data", tmp_path / "none")
    assert refused.code == 3


def test_the_url_that_is_shown_is_where_it_listens() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert address_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(name) for name in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "10.0.0.1", "local.host", "")] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip
