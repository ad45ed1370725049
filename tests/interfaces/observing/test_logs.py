"""Lines of the log: one an event, about something, in the form that is asked for, and without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pipeline.config import EmbedSettings, ScipSettings, SearchSettings, Settings
from pipeline.errors import ConfigError
from pipeline.interfaces.observing.logs import about, audit_line, start_logging, tell_audit, without_secrets
from pipeline.interfaces.observing.requests import request
from pipeline.store.layout import open_store
from pipeline.store.versions import open_version

log = logging.getLogger("pipeline.test")


class Lines(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def jsons(self) -> list[Any]:
        """Each line as JSON."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    names = ("pipeline", "assets", "resources", "sensors")
    before = {name: (list((one := logging.getLogger(name)).handlers), one.level, one.propagate) for name in names}
    yield
    for name, (handlers, level, propagate) in before.items():
        one = logging.getLogger(name)
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


def _started(environment: Mapping[str, str] | None = None, *, terminal: bool = False) -> Lines:
    stream = Lines(terminal=terminal)
    start_logging(stream, environment or {})
    return stream


def test_a_line_is_json_where_no_terminal_is_and_says_what_it_is_about() -> None:
    lines = _started()
    with about(run="r1", repository="demo"), about(version="v-1"):
        log.info("opened %d parts", 3)
    log.warning("later")
    first, second = lines.jsons
    assert {name: first[name] for name in ("level", "event", "run", "repository", "version")} == {
        "level": "info", "event": "opened 3 parts", "run": "r1", "repository": "demo", "version": "v-1",
    }  # fmt: skip
    assert first["at"].endswith("Z") and "request" not in first
    assert "repository" not in second


def test_a_terminal_gets_plain_lines_and_either_form_can_be_asked_for() -> None:
    plain = _started(terminal=True)
    with about(repository="demo"):
        log.info("opened")
    assert plain.getvalue().rstrip().endswith("INFO    opened  repository=demo")
    asked = _started({"CODEINTEL_LOG": "json"}, terminal=True)
    log.info("opened")
    assert asked.jsons[0]["event"] == "opened"


def test_starting_again_writes_no_line_twice_and_a_level_leaves_lesser_ones_out() -> None:
    _started()
    lines = _started({"CODEINTEL_LOG_LEVEL": "warning"})
    log.info("not told")
    log.warning("told once")
    assert [line["event"] for line in lines.jsons] == ["told once"]


@pytest.mark.parametrize("environment", [{"CODEINTEL_LOG": "yaml"}, {"CODEINTEL_LOG_LEVEL": "loud"}])
def test_a_word_that_is_none_is_refused_with_those_that_are(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="Use "):
        start_logging(Lines(), environment)


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_name_from_a_repository_cannot_forge_a_line(form: str) -> None:
    lines = _started({"CODEINTEL_LOG": form})
    log.info("reading %s", 'a\n{"level": "error", "event": "forged"}')
    assert len(lines.getvalue().splitlines()) == 1


def test_an_exception_is_told_with_where_it_was() -> None:
    lines = _started()
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("could not")
    [line] = lines.jsons
    assert line["event"] == "could not" and "ValueError: odd" in line["trace"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("cannot reach https://ada:hunter22@models.example/v1", "hunter22"),
        ("cloning git+ssh://deploy:s3cr3tword@host/x.git failed", "s3cr3tword"),
        ("Authorization: Bearer abcdef.ghijkl", "abcdef.ghijkl"),
        ("GET /v1?api_key=sk-123456&k=3", "sk-123456"),
        ('{"token": "tok-98765"}', "tok-98765"),
        ("the server said: key sk-from-env is wrong", "sk-from-env"),
    ],
)
def test_secrets_are_blotted_out_wherever_they_stand(text: str, secret: str) -> None:
    told = without_secrets(text, {"MODELS_API_KEY": "sk-from-env", "HOME": "/home/ada"})
    assert secret not in told and "…" in told


def test_facts_that_are_named_as_secrets_are_blotted_out_and_others_are_not() -> None:
    lines = _started()
    secrets = {"api_key": "k-1", "CODEINTEL_TOKEN": "t-1", "db_password": "p-1", "Authorization": "a-1"}
    plain = {"tokenizers": "0.23", "max_tokens": 512, "key": "a518722d", "token_file": "/run/token", "monkey": "m"}
    log.info("started", extra={"facts": secrets | plain})
    [line] = lines.jsons
    assert {name: line[name] for name in secrets} == dict.fromkeys(secrets, "…")
    assert {name: line[name] for name in plain} == plain


def test_what_only_looks_like_a_secret_stays() -> None:
    text = "embedded 300 tokens of harbour/tokens.py at http://localhost:8080/v1, splade_max_tokens = 512"
    assert without_secrets(text, {"LANG": "tokens"}) == text


def test_no_line_holds_a_password_or_a_key_that_settings_lead_to(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARBOUR_KEY", "sk-very-secret-1")
    settings = Settings(
        embed=EmbedSettings(
            embedder="http", embed_url="https://ada:hunter22@models.example/v1", embed_api_key_variable="HARBOUR_KEY"
        ),
        scip=ScipSettings(scip_files=("python=https://bob:pass-word-3@host/index.scip",)),
    )
    lines = _started()
    with open_version(open_store(built.store).existing("demo")) as version:
        tell_audit(version, settings)
    log.warning("the server refused sk-very-secret-1")
    text = lines.getvalue()
    assert not any(secret in text for secret in ("hunter22", "pass-word-3", "sk-very-secret-1"))
    assert lines.jsons[0]["settings"]["embed_api_key_variable"] == "HARBOUR_KEY"  # It says where the key is, not what it is.
    assert "models.example" in lines.jsons[0]["settings"]["embed_url"]


def test_the_audit_line_says_what_answers_here(built: Any) -> None:
    settings = Settings(search=SearchSettings(default_k=7))
    with open_version(open_store(built.store).existing("demo")) as version:
        said = audit_line(version, settings)
        assert said["version"] == built.version and said["commit"] == version.manifest.commit
    assert (said["factory"], said["family"], said["metric"], said["normalisation"], said["dimension"]) == (
        "IDMap2,Flat", "flat", "inner_product", "l2", 256,
    )  # fmt: skip
    assert said["gpu"].startswith("GPU: ") and said["operating_point"]["exact"] is True
    assert said["settings"] == {"default_k": 7}
    assert {"faiss-cpu", "duckdb"} <= said["packages"].keys() or "faiss-gpu" in said["packages"]
    lines = _started()
    with open_version(open_store(built.store).existing("demo")) as version:
        tell_audit(version, settings)
    told = lines.jsons[0]
    assert told["packages"] == said["packages"] and "…" not in lines.getvalue()
    assert json.loads(json.dumps(said)) == said


def test_every_line_of_a_request_has_its_id_and_an_unfit_id_is_replaced() -> None:
    lines = _started()
    with request("http", "search", repository="demo", request_id="abc-1") as this:
        log.info("within")
    assert this.id == "abc-1"
    with request("http", "search", request_id="x\n" * 50) as other:
        log.info("within")
    first, second = lines.jsons
    assert (first["request"], first["repository"]) == ("abc-1", "demo")
    assert second["request"] == other.id and len(other.id) == 16
