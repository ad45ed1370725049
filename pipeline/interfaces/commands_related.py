"""`indexctl related`.

Belongs here: reading the arguments, printing what is near a chunk. Not here: what is near (`pipeline.search.related`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.interfaces.options import Data, Json, Repo, Revision, VersionName

if TYPE_CHECKING:
    from pipeline.search.engine import Hit
    from pipeline.search.related import Related

_MOST_DUPLICATES = 10
"""That are listed for people."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("related")(related)


def related(
    chunk: Annotated[str, typer.Argument(metavar="ID", help="A chunk's id, as `search --explain` prints it.")],
    k: Annotated[int | None, typer.Option("-k", metavar="N", help="How many results.")] = None,
    lang: Annotated[list[str] | None, typer.Option("--lang", metavar="L", help="Only this language; repeatable.")] = None,
    path: Annotated[list[str] | None, typer.Option("--path", metavar="GLOB", help="Only matching paths; repeatable.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", metavar="K", help="Only this kind of chunk; repeatable.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each channel gives, and ids.")] = False,
    version: VersionName = None, rev: Revision = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """What is near a chunk: what it calls, imports and derives from and the other way round, and what is like it."""
    from pipeline.interfaces import answers
    from pipeline.interfaces.commands_search import open_searcher_of
    from pipeline.interfaces.output import as_text, print_json, printable, tell_freshness
    from pipeline.search.channels.registry import State
    from pipeline.search.engine import Filters
    from pipeline.search.related import related as find

    identifier = answers.chunk_id(chunk)
    filters = Filters(*(tuple(as_text(value) for value in given or ()) for given in (lang, path, kind)))
    with open_searcher_of(data, repo, version, rev) as (searcher, looking, _):
        found = find(searcher, identifier, k, filters)
        if json:
            print_json(answers.related(searcher.version, looking.result(), found))
            return
        _print(found, explain=explain)
        for source, told in found.sources.items():
            if told.state is State.BROKEN:
                sys.stderr.write(f"warning: the {source} could not be asked: {printable(told.reason)}\n")
        tell_freshness(searcher.version, looking.result())


def _print(found: Related, *, explain: bool) -> None:
    from rich.text import Text

    from pipeline.interfaces.commands_search import print_place
    from pipeline.interfaces.output import console, counts, printable

    out = console()
    chunk = found.chunk
    place = f"{chunk['uri']}:{chunk['start_line']}-{chunk['end_line']}"
    out.print(Text(printable(f"near {place}  {chunk['kind']} {chunk['name']}".rstrip())))
    if not found.hits:
        out.print("no results")
    for hit in found.hits:
        print_place(out, hit)
        note = f"    score {hit.score:.3f} = " if explain else "    "
        out.print(Text(note + _why(hit, explain=explain) + (f"   id {hit.id}" if explain else ""), style="dim"))
    if found.duplicates:
        places = [f"{one['uri']}:{one['start_line']}" for one in found.duplicates[:_MOST_DUPLICATES]]
        more = len(found.duplicates) - len(places)
        rest = f" and {more:,} more" if more else ""
        copies = counts(len(found.duplicates), "exact duplicate")
        out.print(Text(f"{copies}, left out: {printable(', '.join(places))}{rest}"))


def _why(hit: Hit, *, explain: bool) -> str:
    """`extends Base · vectors 0.71 · same file`, what counts most first."""
    from pipeline.interfaces.output import printable
    from pipeline.search.related import SAME_FILE

    shares = []
    for name, channel in sorted(hit.channels.items(), key=lambda one: -one[1].contribution):
        what = "" if name == SAME_FILE else printable(", ".join(channel.symbols)) or f"{channel.score:.2f}"
        gives = f"gives {channel.contribution:.3f}" if explain else ""
        shares.append(" ".join(filter(None, (name, what, gives))))
    return " · ".join(shares)
