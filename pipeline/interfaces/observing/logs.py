"""Logs: one line an event, as JSON for machines or plain for people, with what the event is about, and without secrets.

Belongs here: the form of a line, its context, what is blotted out, the audit line at start. Not here: what is worth a line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

import msgspec

from pipeline import __version__, files
from pipeline.config import Settings
from pipeline.errors import ConfigError
from pipeline.installed import version_or_none
from pipeline.store.versions import Version

FORM_VARIABLE = "CODEINTEL_LOG"
LEVEL_VARIABLE = "CODEINTEL_LOG_LEVEL"
CONTEXT = ("run", "request", "repository", "version")
"""What a line is about, in the order in which it is told."""
BLOT = "…"
"""In place of a secret."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_LOGGERS = ("pipeline", "assets", "resources", "sensors")
_context: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("codeintel_log_context", default=())
_USER_INFO = re.compile(r"(?<=://)[^/\s@'\"]+(?=@)")
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:token|secret|passw(?:or)?d|passphrase|credentials?|authorization|apikey)(?:[_-]|$)|[_-]key$", re.IGNORECASE
)
_WHERE_IT_IS = re.compile(r"[_-](?:variable|file|path)$", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:api[_-]?key|secret|access[_-]?token|token|passw(?:or)?d|authorization)[\"']?\s*[=:]\s*[\"']?)(?:Bearer\s+)?([^\s\"'&,;}]{4,})",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bBearer\s+)\S+", re.IGNORECASE)
_LEAST_SECRET = 6
"""Characters from which on a value of the environment is looked for: shorter ones occur by chance."""
_PACKAGES = ("faiss-cpu", "faiss-gpu", "duckdb", "numpy", "pyarrow", "tantivy", "tokenizers", "dagster")


@contextlib.contextmanager
def about(**words: str) -> Iterator[None]:
    """What the lines of a block are about (`CONTEXT`); inner blocks add to outer ones. Follows into tasks, not into threads
    that are started by hand."""
    token = _context.set((*_context.get(), *((name, word) for name, word in words.items() if word)))
    try:
        yield
    finally:
        _context.reset(token)


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text without passwords in URLs, bearer tokens, what is named a key or a token, and values of variables so named."""
    text = _BEARER.sub(rf"\1{BLOT}", _NAMED.sub(rf"\1{BLOT}", _USER_INFO.sub(BLOT, text)))
    for name, value in (os.environ if environment is None else environment).items():
        if len(value) >= _LEAST_SECRET and value in text and _is_secret(name):
            text = text.replace(value, BLOT)
    return text


def _is_secret(name: str) -> bool:
    """Whether what has this name is a secret. Where a secret is (`…_variable`, `…_file`), and how many tokens, is none."""
    return _SECRET_NAME.search(name) is not None and _WHERE_IT_IS.search(name) is None


class Line(logging.Formatter):
    """A record as one line: JSON, or `time LEVEL text  name=value …`."""

    def __init__(self, *, json: bool) -> None:
        super().__init__()
        self._json = json

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        context = dict(_context.get())
        about_it = {name: context[name] for name in CONTEXT if name in context}
        extra = getattr(record, "facts", {})
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            trace = self.formatException(record.exc_info)
            extra = {**extra, "trace": trace} if self._json else extra
            text = text if self._json else f"{text}\n{trace}"
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        level = record.levelname.lower()
        if self._json:
            said = {"at": moment, "level": level, "logger": record.name, "event": text, **about_it, **extra}
            return msgspec.json.encode(_clean(said), enc_hook=str).decode()
        words = "".join(f"  {name}={_clean(word, name)}" for name, word in {**about_it, **extra}.items())
        # A name from a repository must not begin a line of its own.
        body = without_secrets(f"{text}{words}").replace("\r", "\\r")
        return f"{moment} {level.upper():<7} {body if record.exc_info else body.replace(chr(10), chr(92) + 'n')}"


def start_logging(stream: TextIO | None = None, environment: Mapping[str, str] | None = None) -> logging.Handler:
    """Have this program's loggers write to `stream` (standard error): plain on a terminal, JSON elsewhere, or as
    `CODEINTEL_LOG` says (`json`, `plain`), from `CODEINTEL_LOG_LEVEL` on (`info`). Called again, it takes the place of what it
    did before. Raises `ConfigError` for other words."""
    stream = sys.stderr if stream is None else stream
    environment = os.environ if environment is None else environment
    form = environment.get(FORM_VARIABLE, "").lower() or ("plain" if stream.isatty() else "json")
    if form not in ("json", "plain"):
        raise ConfigError(f"{FORM_VARIABLE} is `{form[:40]}`.", hint="Use `json` or `plain`.")
    level = environment.get(LEVEL_VARIABLE, "").lower() or "info"
    if level not in _LEVELS:
        raise ConfigError(f"{LEVEL_VARIABLE} is `{level[:40]}`.", hint=f"Use one of {', '.join(_LEVELS)}.")
    handler = logging.StreamHandler(stream)
    handler.set_name("codeintel")
    handler.setFormatter(Line(json=form == "json"))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        for other in [one for one in logger.handlers if one.get_name() == "codeintel"]:
            logger.removeHandler(other)
        logger.addHandler(handler)
        logger.setLevel(_LEVELS[level])
        logger.propagate = False
    return handler


def audit_line(version: Version, settings: Settings, *, gpu: str = "") -> dict[str, Any]:
    """What answers here, in one object: the index, how it is searched, by which libraries, and which settings are not the
    defaults. `gpu` is what the opened index says of it (`str(index.gpu)`); else why a GPU could not be used."""
    manifest = version.manifest
    faiss, point = manifest.faiss, manifest.operating_point
    return {
        "repository": version.repository.name,
        "version": version.name,
        "commit": manifest.commit,
        "dirty": manifest.dirty,
        **{name: faiss[name] for name in ("factory", "family", "mapping", "metric", "dimension", "normalisation", "count")},
        "operating_point": {name: point[name] for name in ("parameters", "k_factor", "exact", "locked")},
        "embedder": manifest.embedder["name"],
        "gpu": gpu or _gpu_state(settings, str(faiss["family"])),
        **_program(settings),
    }


def factory_line(store: Path, settings: Settings, **about_it: Any) -> dict[str, Any]:
    """What builds here, in one object: where to, `about_it`, by which libraries, and which settings are not the defaults.
    `settings_digest` is of all settings that a version is of, and equal where those are."""
    digest = files.digest_bytes(msgspec.json.encode(settings.recorded(), order="sorted"))
    return {"store": str(store), **about_it, **_program(settings), "settings_digest": digest}


def tell_factory(event: str, store: Path, settings: Settings, **about_it: Any) -> None:
    """Log the line of a factory at its start."""
    logging.getLogger(__name__).info(event, extra={"facts": factory_line(store, settings, **about_it)})


def _program(settings: Settings) -> dict[str, Any]:
    defaults = Settings().flat()
    differing = {name: value for name, value in settings.flat().items() if value != defaults[name]}
    return {
        "program": __version__,
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := version_or_none(name))},
        "settings": _clean(differing),
    }


def tell_audit(version: Version, settings: Settings, *, gpu: str = "") -> None:
    """Log the audit line."""
    facts = audit_line(version, settings, gpu=gpu)
    logging.getLogger(__name__).info("answers from this index", extra={"facts": facts})


def _clean(value: Any, name: str = "") -> Any:
    """A value, and all in it, without secrets; `name` is what it is called."""
    if isinstance(value, Mapping):
        return {str(key): _clean(one, str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one, name) for one in value]
    if _is_secret(name) and value:
        return BLOT
    return without_secrets(value) if isinstance(value, str) else value


def _gpu_state(settings: Settings, family: str) -> str:
    from pipeline.index.dense.families import FAMILIES
    from pipeline.index.dense.gpu import why_not

    reason = why_not(settings.search, FAMILIES[family])
    return f"GPU: off, {reason}" if reason else "GPU: there is one"
