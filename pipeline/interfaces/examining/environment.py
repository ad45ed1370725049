"""Settings of this machine: variables that were meant to be settings and are none.

Belongs here: the environment. Not here: settings files of a repository or store, which `stores` reads as every command does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.config import Settings
from pipeline.errors import CodeIntelError
from pipeline.interfaces.examining.findings import Finding, Level
from pipeline.settings_files import ENVIRONMENT_PREFIX, load

AREA = "settings"
_ALIKE = 0.8
_UNKNOWN = re.compile(r"there is no setting `(\w+)`")


def examine_environment(environment: Mapping[str, str], store: Path | None) -> Iterator[Finding]:
    """Whether the settings that hold for every repository can be read, and whether a variable is misspelt."""
    try:
        settings = load(*([store] if store else []), environment=environment)
    except CodeIntelError as error:
        yield refused(error)
        return
    defaults, flat = Settings().flat(), settings.flat()
    changed = [name for name, value in flat.items() if value != defaults[name]]
    text = f"{len(changed)} differ from the defaults: {', '.join(changed)}" if changed else "all are the defaults"
    yield Finding(AREA, "settings", Level.OK, text, facts={"changed": changed})
    known = [ENVIRONMENT_PREFIX + name.upper() for name in flat]
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in known:
            continue
        if variable == settings.embed.embed_api_key_variable:
            continue
        # What is like none of them may be another program's, or read by a server.
        if alike := difflib.get_close_matches(variable, known, n=1, cutoff=_ALIKE):
            hint = f"Did you mean {alike[0]}?"
            yield Finding(AREA, "variable", Level.WARNING, f"{variable} is set, and there is no such setting", hint)


def refused(error: CodeIntelError, repo: str = "") -> Finding:
    """Settings that cannot be read. The error's own hint lists every setting, which is too much here."""
    hint = error.hint
    if unknown := _UNKNOWN.search(error.message):
        alike = difflib.get_close_matches(unknown[1], list(Settings().flat()), n=1)
        hint = f"Did you mean `{alike[0]}`?" if alike else "Take it out: there is none like it."
    return Finding(AREA, "settings", Level.PROBLEM, error.message, hint, repo)
