"""What the service answers, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from pipeline.interfaces.http import schemas
from pipeline.interfaces.http.openapi import document
from pipeline.interfaces.http.pages import read_pages


@pytest.fixture(scope="module")
def chunk(served: Any) -> str:
    """The id of a chunk."""
    return str(served.get("/search?query=berth+fee&k=1").json["results"][0]["id"])


SHAPES = {
    "/search?query=berth+fee&explain=true&content=true": schemas.Searched,
    "/search?query=" + "fee+" * 1500: schemas.Searched,
    "/chunks/{chunk}": schemas.Chunk,
    "/chunks/{chunk}?around=false": schemas.Chunk,
    "/files/harbour/ships.py?start_line=2&end_line=5": schemas.Lines,
    "/symbols/Ship": schemas.Symbols,
    "/symbols/berth_fee?refs=false": schemas.Symbols,
    "/related/{chunk}": schemas.Related,
    "/status": schemas.Status,
    "/versions": schemas.Versions,
    "/quality": schemas.Quality,
    "/healthz": schemas.Health,
    "/readyz": schemas.Readiness,
}


@pytest.mark.parametrize("path", SHAPES)
def test_real_answers_have_exactly_the_fields_that_the_description_names(path: str, served: Any, chunk: str) -> None:
    got = served.get(path.format(chunk=chunk))
    assert (got.status, got.headers["content-type"]) == (200, "application/json")
    msgspec.json.decode(got.body, type=SHAPES[path], strict=True)


def test_a_search_by_body_answers_as_one_by_url(served: Any) -> None:
    by_url = served.get("/search?query=high+tide&k=3&lang=python&lang=markdown&explain=true&path=/harbour/").json
    by_body = served.post(
        {"query": "high tide", "k": 3, "lang": ["python", "markdown"], "explain": True, "path": ["/harbour/"]}
    ).json
    assert by_url == by_body
    assert {result["uri"].split("/")[0] for result in by_url["results"]} == {"harbour"}


def test_a_filter_may_be_repeated(served: Any) -> None:
    found = served.get("/search?query=ship&lang=javascript&lang=toml&k=20").json
    assert {result["lang"] for result in found["results"]} == {"javascript", "toml"}


def test_lines_of_a_file_are_its_bytes(served: Any, built: Any) -> None:
    text = (built.repo / "harbour/ships.py").read_text()
    assert served.get("/files/harbour/ships.py").json["content"] == text
    assert served.get("/files/harbour%2Fships.py?start_line=4&end_line=5").json["content"] == "".join(
        text.splitlines(keepends=True)[3:5]
    )


def test_a_symbol_may_be_named_as_scip_names_it(served: Any) -> None:
    symbol = served.get("/symbols/Ship").json["symbols"][0]["symbol"]
    assert "/" in symbol
    assert served.get(f"/symbols/{quote(symbol, safe='')}").json["symbols"][0]["qualified_name"] == "Ship"


WRONG = {
    "/search": (400, "bad_request"),
    "/search?query=": (400, "bad_request"),
    "/search?query=%20%20": (400, "bad_request"),
    "/search?query=a&query=b": (400, "bad_request"),
    "/search?query=a&k=0": (400, "bad_request"),
    "/search?query=a&k=101": (400, "bad_request"),
    "/search?query=a&k=ten": (400, "bad_request"),
    "/search?query=a&version=": (400, "bad_request"),
    "/search?query=a&repo=": (400, "bad_request"),
    "/status%0A": (404, "not_found"),
    "/files/harbour/ships.py%0A": (404, "not_found"),
    "/search?query=a&k=1e400": (400, "bad_request"),
    "/search?query=a&offset=-1": (400, "bad_request"),
    "/search?query=a&explain=perhaps": (400, "bad_request"),
    "/search?query=a&k_factor=nan": (400, "bad_request"),
    "/search?query=a&params=nprobe%3D9%3B+DROP+TABLE+chunks": (400, "bad_request"),
    "/search?query=a&sql=SELECT+1": (400, "bad_request"),
    "/search?query=%ff%fe": (400, "bad_request"),
    "/search?query=a&lang=": (400, "bad_request"),
    "/search?query=a&" + "lang=x&" * 400: (400, "bad_request"),
    "/search?query=a&repo=nobody/here": (404, "not_found"),
    "/search?query=a&repo=../../etc": (400, "bad_request"),
    "/search?query=a&repo=a%00b": (400, "bad_request"),
    "/search?query=a&version=v-0000000000000000": (404, "not_found"),
    "/search?query=a&version=../current": (404, "not_found"),
    "/search?query=a&version=%00": (404, "not_found"),
    "/search?query=" + "a" * 20_000: (414, "url_too_long"),
    "/chunks/12345": (404, "not_found"),
    "/chunks/": (400, "bad_request"),
    "/chunks/-1": (400, "bad_request"),
    "/chunks/9999999999999999999": (400, "bad_request"),
    "/chunks/1%20OR%201=1": (400, "bad_request"),
    "/chunks/1%00": (400, "bad_request"),
    "/chunks/1?uri=harbour/ships.py": (400, "bad_request"),
    "/files/": (400, "bad_request"),
    "/files/../../etc/passwd": (404, "not_found"),
    "/files//etc/passwd": (404, "not_found"),
    "/files/%2e%2e/%2e%2e/etc/passwd": (404, "not_found"),
    "/files/harbour/ships.py%00.txt": (404, "not_found"),
    "/files/harbour'%20OR%20'1'='1": (404, "not_found"),
    "/files/ignored/secret.py": (404, "not_found"),
    "/files/harbour/ships.py?start_line=0": (400, "bad_request"),
    "/files/harbour/ships.py?start_line=9&end_line=3": (404, "not_found"),
    "/files/harbour/ships.py?start_line=5000": (404, "not_found"),
    "/symbols/": (400, "bad_request"),
    "/symbols/%20": (400, "bad_request"),
    "/symbols/NoSuchThing": (404, "not_found"),
    "/symbols/Ship';--": (404, "not_found"),
    "/symbols/" + "a" * 1025: (400, "bad_request"),
    "/related/12345": (404, "not_found"),
    "/related/x": (400, "bad_request"),
    "/status?repo=nobody": (404, "not_found"),
    "/versions?repo=nobody": (404, "not_found"),
    "/versions?version=1": (400, "bad_request"),
    "/quality?repo=nobody": (404, "not_found"),
    "/quality?version=v-0000000000000000": (404, "not_found"),
    "/nowhere": (404, "not_found"),
    "/search/": (404, "not_found"),
    "/static/": (404, "not_found"),
    "/static/..%2fapp.py": (404, "not_found"),
    "/static/../app.py": (404, "not_found"),
    "/static/__init__.py": (404, "not_found"),
}


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path[:60])
def test_a_wrong_request_gets_an_error_that_says_so(path: str, served: Any) -> None:
    got = served.get(path)
    assert (got.status, got.error["code"]) == WRONG[path], got.error
    assert got.headers["content-type"] == "application/json"
    assert got.error["message"].endswith((".", "?"))
    assert "Traceback" not in got.body.decode()


BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "half an object": (b'{"query": "a"', 400),
    "no object": (b'["query"]', 400),
    "no text": (b'{"query": 7}', 400),
    "a number as text": (b'{"query": "a", "k": "7"}', 400),
    "null": (b'{"query": null}', 400),
    "an unknown field": (b'{"query": "a", "limit": 7}', 400),
    "a list where one is meant": (b'{"query": ["a"]}', 400),
    "no UTF-8": (b'{"query": "\xff\xfe"}', 400),
    "half a surrogate": (b'{"query": "\\ud800"}', 400),
    "a pit": (b"[" * 100_000, 400),
    "a huge number": (b'{"query": "a", "k": ' + b"9" * 5000 + b"}", 400),
    "a zero byte": (b'{"query": "\\u0000"}', 200),
    "SQL": (b'{"query": "\'; DROP TABLE chunks; --"}', 200),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_read_as_strictly_as_it_is_described(name: str, served: Any) -> None:
    body, status = BODIES[name]
    got = served.get("/search", "POST", body, content_type="application/json; charset=utf-8")
    assert got.status == status, got.body
    assert status == 200 or got.error["code"] == "bad_request"


def test_a_body_that_is_not_said_to_be_json_is_refused(served: Any) -> None:
    # A form of a foreign page can send text/plain to any address; it cannot send JSON.
    got = served.get("/search", "POST", b'{"query": "a"}', content_type="text/plain")
    assert (got.status, got.error["code"]) == (415, "not_json")


def test_an_argument_is_not_taken_from_two_places(served: Any) -> None:
    got = served.get("/search?k=1", "POST", b'{"query": "a"}', content_type="application/json")
    assert got.status == 400


@pytest.mark.parametrize(("path", "method"), [("/search", "PUT"), ("/status", "POST"), ("/chunks/1", "DELETE"), ("/", "POST")])
def test_a_wrong_method_is_told_which_ones_there_are(path: str, method: str, served: Any) -> None:
    got = served.get(path, method)
    assert (got.status, got.error["code"]) == (405, "wrong_method")
    assert "GET" in got.headers["allow"]


@pytest.mark.parametrize("path", ["/search?query=a", "/healthz", "/nowhere", "/search", "/openapi.json"])
def test_every_answer_tells_browsers_to_be_careful_and_opens_nothing_to_other_sites(path: str, served: Any) -> None:
    got = served.get(path, origin="https://elsewhere.example")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert got.headers["cache-control"] == "no-store"
    assert not [name for name in got.headers if name.startswith("access-control-")]
    assert "server" not in got.headers


def test_head_gives_headers_alone(served: Any) -> None:
    got = served.get("/search?query=ship", "HEAD")
    assert (got.status, got.body) == (200, b"")
    assert int(got.headers["content-length"]) > 100


def test_a_get_with_a_body_is_refused(served: Any) -> None:
    assert served.get("/status", "GET", b"{}").status == 400


def test_the_page_is_made_of_the_files_of_one_folder_and_of_known_kinds(tmp_path: Path) -> None:
    for name in ("index.html", "page.js", "page.css", "notes.py", "secret", "page.js.map"):
        (tmp_path / name).write_text(name)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "more.js").write_text("more")
    assert sorted(read_pages(tmp_path)) == ["index.html", "page.css", "page.js"]


def test_metrics_are_text_for_prometheus(served: Any) -> None:
    got = served.get("/metrics")
    assert got.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE codeintel_" in got.body


def test_every_reference_of_the_description_leads_somewhere(served: Any) -> None:
    described = served.get("/openapi.json").json
    assert described == json.loads(json.dumps(document()))

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(one) for one in value.values()))
        return set().union(*map(references, value)) if isinstance(value, list) else set()

    for reference in references(described):
        place = described
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_every_described_parameter_is_taken_and_no_other(served: Any) -> None:
    for path, operations in document()["paths"].items():
        for parameter in operations["get"].get("parameters", ()):
            if parameter["in"] == "query":
                asked = path.format(id="1", uri="x", name="x")
                got = served.get(f"{asked}?{parameter['name']}=%00")
                assert "There is no parameter" not in got.body.decode(), (path, parameter["name"])
