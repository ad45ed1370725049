"""Git remotes: which URLs are kept, where remotes stand, what fetching brings, and who is told which credentials."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.source import remotes

Git = Callable[..., str]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example.org/team/service.git", "service"),
        ("ssh://git@git.example.org:2222/team/service", "service"),
        ("git@git.example.org:team/service.git", "service"),
        ("file:///srv/git/service.git/", "service"),
        ("https://git.example.org/a%20b.git", "a b"),
    ],
)
def test_urls_that_git_takes_are_kept_as_they_are(url: str, name: str) -> None:
    assert remotes.is_url(url)
    assert remotes.checked_url(url) == url
    assert remotes.name_in(url) == name


@pytest.mark.parametrize(
    "url",
    [
        "https://ada:s3cret@git.example.org/x.git",
        "https://s3cret@git.example.org/x.git",
        "https://git.example.org/x.git?token=s3cret",
        "https://git.example.org/x.git#s3cret",
        "ssh://git:s3cret@git.example.org/x.git",
        "https://git.example.org/x.git\nhelper=s3cret",
        "https://[s3cret/x.git",
    ],
)
def test_a_url_with_a_secret_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        remotes.checked_url(url)
    assert "s3cret" not in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("url", ["ftp://example.org/x", "https:///x", "https://example.org", "--upload-pack=x", "nothing"])
def test_what_is_no_remote_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        remotes.checked_url(url)


def test_a_folder_is_no_url(tmp_path: Path) -> None:
    assert not remotes.is_url(str(tmp_path))
    assert not remotes.is_url("some/folder")


def test_fetching_follows_branches_tags_and_head(tmp_path: Path, upstream: Path, git: Git) -> None:
    mirror, url = tmp_path / "mirror.git", upstream.as_uri()
    first = git(upstream, "rev-parse", "HEAD")
    git(upstream, "branch", "old")
    remotes.fetch(url, mirror)
    assert remotes.local_standing(mirror, None) == remotes.Standing(first, "main")
    git(upstream, "checkout", "-qb", "next")
    git(upstream, "commit", "-qm", "Second", "--allow-empty")
    git(upstream, "tag", "-am", "one", "v1")
    git(upstream, "branch", "-D", "old")
    second = git(upstream, "rev-parse", "HEAD")
    assert remotes.standing(url, None, mirror) == remotes.Standing(second, "next")
    assert remotes.standing(url, "main", mirror) == remotes.Standing(first, "main")
    assert remotes.standing(url, "v1", mirror).commit == second
    assert remotes.standing(url, first, mirror).commit == first
    assert remotes.local_standing(mirror, None).commit == first, "asking fetches nothing"
    remotes.fetch(url, mirror)
    assert remotes.local_standing(mirror, None) == remotes.Standing(second, "next")
    assert git(mirror, "branch", "--list", "old") == ""
    git(upstream, "checkout", "-q", "--detach", first)
    remotes.fetch(url, mirror)
    assert remotes.local_standing(mirror, None).commit == first


def test_a_history_that_was_rewritten_is_followed(tmp_path: Path, upstream: Path, git: Git) -> None:
    mirror = tmp_path / "mirror.git"
    remotes.fetch(upstream.as_uri(), mirror)
    git(upstream, "commit", "-q", "--amend", "-m", "Another first")
    remotes.fetch(upstream.as_uri(), mirror)
    assert remotes.local_standing(mirror, None).commit == git(upstream, "rev-parse", "HEAD")


def test_remotes_that_are_gone_or_empty_say_so(tmp_path: Path, git: Git) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    with pytest.raises(SourceError, match="has no commits"):
        remotes.fetch((tmp_path / "empty").as_uri(), tmp_path / "one.git")
    with pytest.raises(SourceError, match="cannot be fetched"):
        remotes.fetch((tmp_path / "gone").as_uri(), tmp_path / "two.git")
    with pytest.raises(SourceError, match=r"There is no revision|has no commits"):
        remotes.standing((tmp_path / "empty").as_uri(), "nothing", tmp_path / "one.git")


class Server(ThreadingHTTPServer):
    """git over HTTP, for whoever says `git:right`."""

    def __init__(self, root: Path, sends_to: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.sends_to = root, sends_to
        self.told: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """One request, answered by `git http-backend`."""

    server: Server

    def do_GET(self) -> None:
        said = self.headers.get("Authorization", "")
        if said:
            self.server.told.append(base64.b64decode(said.removeprefix("Basic ")).decode())
        if said != "Basic " + base64.b64encode(b"git:right").decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environment = {
            "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
            "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""), "PATH": os.environ["PATH"],
            "CONTENT_LENGTH": self.headers.get("Content-Length", "0"), "REMOTE_USER": "git", "HOME": str(self.server.root),
        }  # fmt: skip
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        ran = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=True)
        head, _, content = ran.stdout.partition(b"\r\n\r\n")
        self.send_response(200)
        for line in head.decode().splitlines():
            self.send_header(*line.split(": ", 1))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server(upstream: Path) -> Iterator[Server]:
    with Server(upstream.parent) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def _url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/service/.git"


def _said(**variables: str) -> Mapping[str, str]:
    return {"PATH": "", **variables}


def test_a_token_of_the_environment_opens_the_host_that_its_name_says(tmp_path: Path, server: Server) -> None:
    environment = _said(CODEINTEL_GIT_TOKEN_127_0_0_1="right")
    remotes.fetch(_url(server), tmp_path / "mirror.git", environment)
    assert remotes.standing(_url(server), None, tmp_path / "mirror.git", environment).branch == "main"
    stored = b"".join(path.read_bytes() for path in (tmp_path / "mirror.git").rglob("*") if path.is_file())
    assert b"right" not in stored


def test_a_token_for_another_host_is_told_to_nobody(tmp_path: Path, server: Server) -> None:
    with pytest.raises(SourceError) as refused:
        remotes.fetch(_url(server), tmp_path / "mirror.git", _said(CODEINTEL_GIT_TOKEN_GIT_EXAMPLE_ORG="right"))
    assert server.told == []
    assert "CODEINTEL_GIT_TOKEN_127_0_0_1" in refused.value.hint


def test_a_wrong_token_is_tried_once_and_not_repeated_in_the_error(tmp_path: Path, server: Server) -> None:
    with pytest.raises(SourceError) as refused:
        remotes.fetch(_url(server), tmp_path / "mirror.git", _said(CODEINTEL_GIT_TOKEN_127_0_0_1="wr0ng"))
    assert set(server.told) == {"git:wr0ng"} and len(server.told) <= 2
    assert "wr0ng" not in str(refused.value)


def test_gits_credential_helpers_are_asked(tmp_path: Path, server: Server) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text('[credential]\n\thelper = "!f() { echo username=git; echo password=right; }; f"\n')
    remotes.fetch(_url(server), tmp_path / "mirror.git", {"PATH": os.environ["PATH"], "HOME": str(home)})
    assert set(server.told) == {"git:right"}
