"""Which folder is the store when nobody names one.

Belongs here: the one rule. Not here: command-line flags, which come before it (`interfaces`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

DATA_VARIABLE = "CODEINTEL_DATA"


def default_data(folder: Path, environment: Mapping[str, str]) -> Path:
    """`CODEINTEL_DATA`; else `data` in a checkout of this project around `folder`; else the user's data folder."""
    if given := environment.get(DATA_VARIABLE):
        return Path(given).expanduser()
    for candidate in (folder, *folder.parents):
        if (candidate / "workspace.yaml").is_file() and (candidate / "pipeline" / "definitions.py").is_file():
            return candidate / "data"
    home = Path(environment.get("HOME", "~")).expanduser()
    if given := environment.get("XDG_DATA_HOME"):
        return Path(given) / "codeintel"
    return home / ("Library/Application Support" if sys.platform == "darwin" else ".local/share") / "codeintel"


def data_folder(given: Path | None) -> Path:
    """The folder that is given, or the default one; absolute: what is stored must not depend on the working directory."""
    return (given.expanduser() if given else default_data(Path.cwd(), os.environ)).absolute()
