"""`indexctl symbols`, and the lines with which `show` says what stands around a chunk.

Belongs here: reading the arguments, printing symbols. Not here: what is known of a symbol (`pipeline.catalog.describe`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, VersionName

if TYPE_CHECKING:
    import duckdb

    from pipeline.store.versions import Version

_READ = ("definitions", "scip_occurrences", "scip_symbols", "chunk_symbols", "symbol_edges")
"""The artefacts that questions about symbols read."""
_MOST_NAMES = 10
_MOST_SIGNATURE_LINES = 4


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("symbols")(symbols)


def symbols(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, also qualified (`QuerySet.filter`), or a SCIP symbol.")],
    k: Annotated[int, typer.Option("-k", metavar="N", min=0, help="How many references of each symbol.")] = 20,
    refs: Annotated[bool, typer.Option("--refs/--no-refs", help="Whether to list references.")] = True,
    version: VersionName = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Where a name is defined and referred to, what implements it, who calls it, and what it calls."""
    from pipeline.catalog.describe import describe_name
    from pipeline.errors import QueryError
    from pipeline.interfaces.context import choose_repository, choose_store, freshness_of
    from pipeline.interfaces.output import as_text, print_json, stale_note
    from pipeline.search.query import identifier_of
    from pipeline.store.layout import read_origin, settings_of
    from pipeline.store.versions import open_version

    name = as_text(name).strip()
    if not name:
        raise QueryError("The name is empty.", hint="Give a name, for example `QuerySet.filter`.")
    store = choose_store(data)
    repository = choose_repository(store, repo)
    settings = settings_of(store, read_origin(repository))
    with open_version(repository, version) as opened:
        fresh = freshness_of(store, repository, opened, settings)
        connection = _connect(opened, settings.search.duckdb_memory_limit, settings.search.duckdb_threads)
        try:
            spellings = dict.fromkeys((name, identifier_of(name) or name))
            found = next(filter(None, (describe_name(connection, one, k=k, references=refs) for one in spellings)), None)
            if found is None:
                raise _not_found(connection, name, opened.name)
        finally:
            connection.close()
        if json:
            print_json({
                "repo": repository.name, "version": opened.name, "stale": fresh.stale, "name": name, "symbols": found,
            })  # fmt: skip
            return
        _print_symbols(found, refs=refs)
    if fresh.stale:
        sys.stderr.write(f"{stale_note(repository.name, fresh.reason)}\n")


def symbol_assets(opened: Version) -> list[str]:
    """What questions about symbols read, as far as the version has it: definitions alone answer, too."""
    return [asset for asset in _READ if asset in opened.manifest.artefacts]


def _connect(opened: Version, memory_limit: str, threads: int) -> duckdb.DuckDBPyConnection:
    from pipeline.catalog.views import connect

    return connect(opened.ensure(*symbol_assets(opened)), memory_limit=memory_limit, threads=threads)


def _not_found(connection: duckdb.DuckDBPyConnection, name: str, version: str) -> Exception:
    from pipeline.catalog.describe import near_names
    from pipeline.errors import NotFoundError

    near = near_names(connection, name)
    hint = f"Near it: {', '.join(near)}." if near else "`indexctl search` finds code by what it is about."
    return NotFoundError(f"There is no symbol `{name[:200]}` in {version}.", hint=hint)


def _print_symbols(found: Sequence[dict[str, Any]], *, refs: bool) -> None:
    from rich.text import Text

    from pipeline.catalog.describe import MOST_SYMBOLS
    from pipeline.interfaces.output import console, printable

    out = console()
    for place, symbol in enumerate(found):
        head = Text("\n" if place else "")
        head.append(printable(symbol["display_name"]), style="bold cyan")
        head.append(f"  {symbol['kind']}")
        head.append(f"  from {symbol['provenance']}", style="dim")
        out.print(head)
        out.print(Text(f"    {printable(symbol['symbol'])}", style="dim"))
        for line in symbol["signature"].splitlines()[:_MOST_SIGNATURE_LINES]:
            out.print(Text(f"    {printable(line)}"))
        if summary := next((line.strip() for line in symbol["documentation"].splitlines() if line.strip()), ""):
            out.print(Text(f"    {printable(summary)}", style="italic"))
        for line in _sections(symbol, refs=refs):
            out.print(Text(line))
    if len(found) == MOST_SYMBOLS:
        sys.stderr.write(f"the first {MOST_SYMBOLS} symbols of this name; qualify it (`Class.name`) to see others\n")


def _sections(symbol: dict[str, Any], *, refs: bool) -> Iterator[str]:
    """The lines below the head of a symbol."""
    from pipeline.interfaces.output import counts

    yield from _places("defined", symbol["definitions"])
    total, shown = symbol["reference_count"], len(symbol["references"])
    if refs and total:
        yield from _places(f"referred to {counts(total, 'time')}", symbol["references"])
        if shown < total:
            yield f"      … and {total - shown:,} more (-k {total} shows them)"
    for what, title in (("implementations", "implemented by"), ("callers", "called by"), ("callees", "calls")):
        yield from _places(title, symbol[what][:_MOST_NAMES])
        if len(symbol[what]) > _MOST_NAMES:
            yield f"      … and {len(symbol[what]) - _MOST_NAMES:,} more (--json shows them)"


def _places(title: str, places: Sequence[dict[str, Any]]) -> Iterator[str]:
    from pipeline.interfaces.output import printable

    if places:
        yield f"  {title}"
    for place in places:
        where = f"{place['uri']}:{place['line']}" if place["uri"] else "outside of this repository"
        yield printable(f"      {where}  {place.get('display_name', '')}".rstrip())


def around_lines(around: dict[str, Any]) -> Iterator[str]:
    """What `show` prints below the place of a chunk: scope, symbols, callers and callees, by name."""
    from pipeline.interfaces.output import printable

    scope = " › ".join(f"{definition['kind']} {definition['name'].rpartition('.')[2]}" for definition in around["scope"])
    if scope:
        yield printable(f"  in        {scope}")
    names = list(dict.fromkeys(symbol["display_name"] for symbol in around["defines"]))
    yield from _names("defines", names[:_MOST_NAMES], len(names))
    yield from _names("called by", around["callers"], around["caller_count"])
    yield from _names("calls", around["callees"], around["callee_count"])


def _names(title: str, names: Sequence[str], total: int) -> Iterator[str]:
    from pipeline.interfaces.output import printable

    if names:
        rest = f" and {total - len(names):,} more" if total > len(names) else ""
        yield printable(f"  {title:<9} {', '.join(names)}{rest}")
