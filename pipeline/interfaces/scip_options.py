"""`--scip`, `--no-scip` and `--refresh-scip`: the first two are settings to everything below, for the length of one build.

Belongs here: turning them into settings for the length of a build. Not here: indexers (`pipeline.structure`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import ConfigError

_TOOLS = {
    "python": ("ty-scip", "scip-python"),
    "typescript": ("scip-typescript",),
    "go": ("scip-go",),
    "rust": ("rust-analyzer",),
    "java": ("scip-java",),
    "cpp": ("scip-clang",),
    "ruby": ("scip-ruby",),
}
"""Language -> the indexers that are known to make it."""


@contextlib.contextmanager
def symbols_from(no_scip: bool, supplied: Sequence[str], *, refresh: bool = False) -> Iterator[tuple[str, ...]]:
    """What the options say, where every part of this process reads settings: in the environment. Gives the assets that are to
    be made afresh."""
    if no_scip and supplied:
        raise ConfigError("--scip and --no-scip exclude each other.", hint="Leave one out.")
    if no_scip and refresh:
        raise ConfigError("--refresh-scip and --no-scip exclude each other.", hint="Leave one out.")
    given = {"CODEINTEL_SCIP": "off"} if no_scip else {}
    if supplied:
        given["CODEINTEL_SCIP_FILES"] = ",".join(_with_language(one) for one in supplied)
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield ("scip_index",) if refresh else ()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _with_language(given: str) -> str:
    """`LANGUAGE=PATH`, the language by the tool that made the index where it is not said."""
    from pipeline.errors import ConfigError
    from pipeline.structure.scip.reader import read_metadata

    language, named, path = given.rpartition("=")
    place = Path(path).expanduser().absolute()
    if not place.is_file():
        raise ConfigError(f"There is no SCIP index {path}.", hint="Give a file, or LANGUAGE=FILE.")
    if "," in str(place):
        raise ConfigError(f"The path {path} has a comma, which stands between several indexes.", hint="Move the file.")
    if not named:
        tool = read_metadata(place).tool_name
        language = next((language for language, tools in _TOOLS.items() if tool in tools), "")
        if not language:
            raise ConfigError(f"{path} was made by `{tool}`, which does not say a language.", hint="Give LANGUAGE=FILE.")
    return f"{language}={place}"
