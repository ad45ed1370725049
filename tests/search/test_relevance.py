"""What a search finds in code that was not written for it: three packages of Python's standard library."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Any:
    """Ask the index of some packages: the distinct files of the hits, best first."""
    root = tmp_path_factory.mktemp("library")
    stdlib = Path(sysconfig.get_path("stdlib"))
    for package in ("json", "http", "email", "logging", "concurrent"):
        shutil.copytree(stdlib / package, root / "library" / package, ignore=shutil.ignore_patterns("__pycache__", "test*"))
    done = indexctl("build", root / "library", "--data", root / "store", "--json", "--ephemeral")
    assert done.code == 0, done.err

    def files(query: str) -> list[str]:
        found = indexctl("search", query, "-k", "20", "--data", root / "store", "--json")
        assert found.code == 0, found.err
        return list(dict.fromkeys(hit["uri"] for hit in found.json["results"]))

    return files


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("JSONDecoder", "json/decoder.py"),
        ("py_scanstring", "json/decoder.py"),
        ("SimpleHTTPRequestHandler", "http/server.py"),
        ("MozillaCookieJar", "http/cookiejar.py"),
        ("HTTPSConnection", "http/client.py"),
        ("formataddr", "email/utils.py"),
        ("TimedRotatingFileHandler", "logging/handlers.py"),
        ("ThreadPoolExecutor", "concurrent/futures/thread.py"),
    ],
)
def test_the_name_of_a_definition_finds_its_file_first(library: Any, name: str, uri: str) -> None:
    assert library(name)[0] == uri


@pytest.mark.parametrize(
    ("description", "uri"),
    [
        ("send log records to a syslog server", "logging/handlers.py"),
        ("serialize python objects to a json string", "json/encoder.py"),
        ("send a request over a TLS connection", "http/client.py"),
        ("decide whether a cookie may be returned to the server", "http/cookiejar.py"),
        ("encode bytes as base64 for mail", "email/base64mime.py"),
        ("quoted printable encoding of message bodies", "email/quoprimime.py"),
        ("run functions in a pool of worker processes", "concurrent/futures/process.py"),
        ("read the logging configuration from a dictionary", "logging/config.py"),
    ],
)
def test_a_described_behaviour_finds_its_file_among_the_first_three(library: Any, description: str, uri: str) -> None:
    assert uri in library(description)[:3]


def test_the_spelling_of_an_identifier_does_not_matter(library: Any) -> None:
    for spelling in ("RotatingFileHandler", "rotating_file_handler", "rotating file handler"):
        assert library(spelling)[0] == "logging/handlers.py"
