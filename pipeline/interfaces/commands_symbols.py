"""`indexctl symbols`, and the lines with which `show` says what stands around a chunk.

Belongs here: reading the arguments, printing symbols. Not here: what is known of a symbol (`pipeline.catalog.describe`).
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, Revision, VersionName

if TYPE_CHECKING:
    from rich.text import Text


_MOST_NAMES = 10
_MOST_SIGNATURE = 200
_MOST_IN_FULL = 5
"""More symbols than that are listed, a line each."""
_NAME = "name"
"""The kind of what is spelt so and not resolved."""
_ELSEWHERE = {"uri": None, "line": None}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("symbols")(symbols)


def symbols(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name, also qualified (`QuerySet.filter`), or a SCIP symbol.")],
    k: Annotated[int, typer.Option("-k", metavar="N", min=0, help="How many references of each symbol.")] = 20,
    most: Annotated[int, typer.Option("-n", "--most", metavar="N", min=1, help="How many symbols of that name.")] = 20,
    refs: Annotated[bool, typer.Option("--refs/--no-refs", help="Whether to list references.")] = True,
    version: VersionName = None, rev: Revision = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Where a name is defined and referred to, what implements it, who calls it, and what it calls.

    Of a name that more than five symbols have, each is a line; qualify the name (`Class.name`) or lower -n to see more.
    """
    from pipeline.catalog.lookup import find_symbols
    from pipeline.catalog.symbol_table import read_symbols
    from pipeline.catalog.views import connect
    from pipeline.errors import QueryError
    from pipeline.interfaces import answers
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.looking import look
    from pipeline.interfaces.output import as_text, print_json, tell_freshness
    from pipeline.store.layout import read_origin, settings_of
    from pipeline.store.versions import open_version

    name = as_text(name).strip()
    if not name:
        raise QueryError("The name is empty.", hint="Give a name, for example `QuerySet.filter`.")
    store = choose_store(data)
    repository = choose_repository(store, repo)
    settings = settings_of(store, read_origin(repository))
    with open_version(repository, choose_version(repository, version, rev)) as opened:
        looking = look(store, repository, opened, settings)
        table = read_symbols(opened.ensure(*answers.symbol_assets(opened)))
        found = find_symbols(table, name)
        if not len(found):
            limits = settings.search
            with connect(opened.path, memory_limit=limits.duckdb_memory_limit, threads=limits.duckdb_threads) as connection:
                raise answers.no_symbol(opened, name, connection)
        answer = answers.symbols(opened, looking.result(), name, table, found[:most], k=k, references=refs, total=len(found))
    if json:
        print_json(answer)
        return
    _print_symbols(name, answer["symbols"], len(found), refs=refs)
    tell_freshness(opened, looking.result())


def _print_symbols(name: str, shown: Sequence[dict[str, Any]], total: int, *, refs: bool) -> None:
    """Symbols in full, or a line each where there are many."""
    from rich.text import Text

    from pipeline.interfaces.output import console, counts, printable

    if not any(symbol["display_name"] in name for symbol in shown):
        sys.stderr.write(f"no symbol is called `{printable(name[:200])}`; what follows starts so or differs in case\n")
    out = console()
    if len(shown) > _MOST_IN_FULL:
        for line in _listed(shown):
            out.print(Text(line))
    else:
        for place, symbol in enumerate(shown):
            out.print(_head(symbol, first=not place))
            for line in _sections(symbol, refs=refs):
                out.print(Text(line))
    if total > len(shown):
        more = counts(total - len(shown), "more symbol")
        sys.stderr.write(f"and {more}; qualify the name (`Class.name`), or raise -n to see them\n")


def _listed(shown: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line for each symbol: its name, kind and place, and how often it is referred to."""
    from pipeline.interfaces.output import counts, printable

    names = [printable(symbol["qualified_name"]) for symbol in shown]
    width, kinds = max(map(len, names)), max(len(symbol["kind"]) for symbol in shown)
    for name, symbol in zip(names, shown, strict=True):
        references = counts(symbol["reference_count"], "reference") if symbol["reference_count"] else ""
        where = "not resolved" if symbol["kind"] == _NAME else _where(next(iter(symbol["definitions"]), _ELSEWHERE))
        yield f"{name:<{width}}  {symbol['kind']:<{kinds}}  {where}  {references}".rstrip()


def _head(symbol: dict[str, Any], *, first: bool) -> Text:
    """What a symbol is, before the places."""
    from rich.text import Text

    from pipeline.interfaces.output import printable

    head = Text("" if first else "\n")
    head.append(printable(symbol["qualified_name"]), style="bold cyan")
    head.append(f"  {symbol['kind']}" if symbol["kind"] else "")
    head.append(f"  from {symbol['provenance']}\n", style="dim")
    head.append(f"    {printable(symbol['symbol'])}", style="dim")
    if symbol["kind"] == _NAME:
        head.append("\n    spelt so, but syntax alone cannot tell what is meant")
    if signature := " ".join(symbol["signature"].split()):
        cut = signature[:_MOST_SIGNATURE] + (" …" if len(signature) > _MOST_SIGNATURE else "")
        head.append(f"\n    {printable(cut)}")
    if summary := next((line.strip() for line in symbol["documentation"].splitlines() if line.strip()), ""):
        head.append(f"\n    {printable(summary)}", style="italic")
    return head


def _sections(symbol: dict[str, Any], *, refs: bool) -> Iterator[str]:
    """The lines below the head of a symbol."""
    from pipeline.interfaces.output import counts

    yield from _places("defined", symbol["definitions"])
    total, shown = symbol["reference_count"], len(symbol["references"])
    if refs and total:
        yield f"  referred to {counts(total, 'time')}"
        yield from _places("", symbol["references"])
        if shown < total:
            yield f"      … and {total - shown:,} more (-k {total} shows them)"
    for what, title in (
        ("base", "implements"),
        ("implementation", "implemented by"),
        ("caller", "called by"),
        ("callee", "calls"),
    ):
        total, others = symbol[f"{what}_count"], symbol[f"{what}s"]
        yield from _places(title, others[:_MOST_NAMES])
        if total > _MOST_NAMES:
            yield f"      … and {total - _MOST_NAMES:,} more" + (" (--json names them)" if total <= len(others) else "")


def _places(title: str, places: Sequence[dict[str, Any]]) -> Iterator[str]:
    from pipeline.interfaces.output import printable

    if places and title:
        yield f"  {title}"
    # Several places in a line are one line here.
    for where, same in itertools.groupby(places, key=lambda place: (_where(place), place.get("qualified_name", ""))):
        times = len(list(same))
        text = "  ".join(part for part in (where[0], where[1] if where[1] != where[0] else "") if part)
        yield f"      {printable(text)}" + (f"  ({times} times)" if times > 1 else "")


def _where(place: dict[str, Any]) -> str:
    from pipeline.interfaces.output import printable

    if place["uri"] is None:
        return "outside of this repository"
    return printable(place["uri"]) + (f":{place['line']}" if place["line"] else "")


def around_lines(around: dict[str, Any]) -> Iterator[str]:
    """What `show` prints below the place of a chunk: scope, symbols, callers and callees, by name."""
    from pipeline.interfaces.output import printable

    scope = " › ".join(f"{definition['kind']} {definition['name'].rpartition('.')[2]}" for definition in around["scope"])
    if scope:
        yield printable(f"  in        {scope}")
    names = list(dict.fromkeys(symbol["qualified_name"] for symbol in around["defines"]))
    yield from _names("defines", names[:_MOST_NAMES], len(names))
    yield from _names("called by", around["callers"], around["caller_count"])
    yield from _names("calls", around["callees"], around["callee_count"])


def _names(title: str, names: Sequence[str], total: int) -> Iterator[str]:
    from pipeline.interfaces.output import printable

    if names:
        rest = f" and {total - len(names):,} more" if total > len(names) else ""
        yield printable(f"  {title:<9} {', '.join(names)}{rest}")
