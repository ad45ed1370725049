"""Options that several commands have, in one place, so that they read the same everywhere.

Belongs here: annotated option types. Not here: their meaning (`context`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="The store (else CODEINTEL_DATA, else `data` in a checkout, else your data folder)."
    ),
]
Repo = Annotated[str | None, typer.Option("--repo", metavar="NAME", help="The repository (else the one around this folder).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
BuildRevision = Annotated[str | None, typer.Option("--rev", metavar="REV", help="A git revision instead of the working tree.")]
VersionName = Annotated[
    str | None,
    typer.Option("--version", metavar="V", help="Another version, by the beginning of its name."),
]
Revision = Annotated[
    str | None,
    typer.Option("--rev", metavar="REV", help="The version of a branch, a tag or a commit."),
]
Host = Annotated[
    str, typer.Option("--host", help="The address to listen on; others than loopback show the indexed code to the network.")
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="Answer only who sends the bearer token in this file.")
]
NoToken = Annotated[bool, typer.Option("--no-token", help="Answer everybody, on addresses that the network reaches, too.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option("--allow-host", metavar="NAME", help="A name under which the service is asked, too; repeatable."),
]
