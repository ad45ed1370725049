"""`indexctl search` and `indexctl show`.

Belongs here: reading a query, printing hits. Not here: searching (`pipeline.search`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, Revision, VersionName

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings
    from pipeline.index.dense.operating_point import OperatingPoint
    from pipeline.interfaces.looking import Looking
    from pipeline.search.engine import Answer, Filters, Hit, Searcher
    from pipeline.search.explanation import Matched
    from pipeline.search.trace import Tracer


_MOST_NAMES = 8
"""Names that an explanation shows of one chunk."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("search")(search)
    app.command("show")(show)


def search(
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="What you look for: a sentence, or a name.")] = None,
    k: Annotated[int | None, typer.Option("-k", metavar="N", help="How many results.")] = None,
    lang: Annotated[list[str] | None, typer.Option("--lang", metavar="L", help="Only this language; repeatable.")] = None,
    path: Annotated[list[str] | None, typer.Option("--path", metavar="GLOB", help="Only matching paths; repeatable.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", metavar="K", help="Only this kind of chunk; repeatable.")] = None,
    module: Annotated[
        list[str] | None, typer.Option("--module", metavar="M", help="Only this file or folder, also dotted; repeatable.")
    ] = None,
    defines: Annotated[
        list[str] | None, typer.Option("--defines", metavar="NAME", help="Only chunks that define NAME; repeatable.")
    ] = None,
    params: Annotated[
        str, typer.Option("--params", metavar="P", help="Search the vector index at another point: nprobe=64 or efSearch=128.")
    ] = "",
    k_factor: Annotated[
        float | None, typer.Option("--k-factor", metavar="F", help="Re-rank so many vectors for each one asked.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what each channel said, and what matched.")] = False,
    batch: Annotated[Path | None, typer.Option("--batch", metavar="FILE", help="Queries as JSON lines; - for stdin.")] = None,
    version: VersionName = None, rev: Revision = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Search the published index."""
    from pipeline.errors import QueryError
    from pipeline.interfaces.answers import searched
    from pipeline.interfaces.output import as_text, counts, print_json, print_warning, tell_freshness
    from pipeline.search.channels.registry import broken
    from pipeline.search.engine import Filters
    from pipeline.search.trace import Tracer

    if (query is None) == (batch is None):
        raise QueryError("Give a query, or --batch FILE, and not both.", hint="See `indexctl search --help`.")
    filters = Filters(*(tuple(as_text(value) for value in given or ()) for given in (lang, path, kind, module, defines)))
    with (
        open_searcher_of(data, repo, version, rev) as (searcher, looking, settings),
        Tracer(searcher, settings.trace, print_warning) as tracer,
    ):
        point = searcher.point_for(params, k_factor) if params or k_factor is not None else None
        if batch is not None:
            _run_batch(searcher, looking, tracer, batch, k, filters, point, explain=explain)
            return
        assert query is not None  # one of both was given
        query = as_text(query)
        answer = searcher.answer(query, k, filters, point=point, explain=explain)
        matched = _matched(searcher, tracer, answer, explain=explain)
        if json:
            print_json(searched(searcher.version, looking.result(), query, answer, matched))
            return
        _print_hits(answer.hits, matched, filtered=bool(filters))
        if explain:
            _print_channels(searcher, answer, point)
        if answer.query.unread:
            sys.stderr.write(f"note: the query is long; its last {counts(answer.query.unread, 'character')} were not read\n")
        for name, reason in broken(answer.channels).items():
            print_warning(f"the channel `{name}` could not answer: {reason}")
        tell_freshness(searcher.version, looking.result())


@contextmanager
def open_searcher_of(
    data: Path | None, repo: str | None, version: str | None, rev: str | None = None
) -> Iterator[tuple[Searcher, Looking, Settings]]:
    """The searcher of the version that the options name, the question how fresh that is, and the settings."""
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.looking import look
    from pipeline.search.engine import open_searcher
    from pipeline.store.layout import read_origin, settings_of

    store = choose_store(data)
    repository = choose_repository(store, repo)
    settings = settings_of(store, read_origin(repository))
    with open_searcher(repository, settings, choose_version(repository, version, rev)) as searcher:
        yield searcher, look(store, repository, searcher.version, settings), settings


def _matched(searcher: Searcher, tracer: Tracer, answer: Answer, *, explain: bool) -> dict[int, Matched] | None:
    """What is behind the hits, where that is asked for. The answer is traced with it."""
    from pipeline.search.explanation import explain as explained

    matched = explained(searcher.opened, answer) if explain else None
    tracer.record(answer, matched)
    return matched


def _run_batch(
    searcher: Searcher, looking: Looking, tracer: Tracer, batch: Path, k: int | None, filters: Filters,
    point: OperatingPoint | None, *, explain: bool,
) -> None:  # fmt: skip
    from pipeline.errors import QueryError
    from pipeline.interfaces.answers import searched
    from pipeline.interfaces.output import print_json

    for number, line in enumerate(_lines(batch), 1):
        if not line.strip():
            continue
        query = _query_of(line, f"{batch}, line {number}")
        try:
            answer = searcher.answer(query, k, filters, point=point, explain=explain)
        except QueryError as error:
            raise QueryError(f"{batch}, line {number}: {error.message}", hint=error.hint) from None
        matched = _matched(searcher, tracer, answer, explain=explain)
        print_json(searched(searcher.version, looking.result(), query, answer, matched))


def _lines(batch: Path) -> Iterator[bytes]:
    from pipeline.errors import QueryError

    if str(batch) == "-":
        yield from sys.stdin.buffer
        return
    try:
        with batch.open("rb") as file:
            yield from file
    except OSError as error:
        raise QueryError(f"{batch} cannot be read: {error.strerror}.", hint='Give JSON lines: {"query": "…"}.') from None


def _query_of(line: bytes, where: str) -> str:
    import msgspec

    from pipeline.errors import QueryError

    try:
        query = msgspec.json.decode(line, type=dict[str, Any])["query"]
        if isinstance(query, str):
            return query
    except (msgspec.DecodeError, KeyError):
        pass
    raise QueryError(f'{where} is not an object with a text "query".', hint='Write one {"query": "…"} a line.')


def _print_hits(hits: list[Hit], matched: Mapping[int, Matched] | None, *, filtered: bool) -> None:
    from rich.text import Text

    from pipeline.interfaces.output import console, printable

    out, explain = console(), matched is not None
    if not hits:
        out.print("no results: no chunk passes these filters" if filtered else "no results")
    for hit in hits:
        print_place(out, hit)
        shares = [
            f"{name} {f'#{channel.rank}' if channel.rank else '–'} ({channel.score:.2f})"
            + (f" gives {channel.contribution:.3f}" if explain else "")
            + (f" by {printable(channel.detail)}" if explain and channel.detail else "")
            for name, channel in hit.channels.items()
        ]
        if explain:
            shares += [f"{name} ×{factor:.2f}" for name, factor in hit.adjustments.items()]
        note = f"    score {hit.score:.3f} = " if explain else "    "
        out.print(Text(note + " · ".join(shares) + (f"   id {hit.id}" if explain else ""), style="dim"))
        if hit.tokens:
            out.print(Text(f"    tokens   {printable(_matched_tokens(hit))}", style="dim"))
        if matched is not None:
            for line in _matched_lines(matched[hit.id]):
                out.print(Text(f"    {printable(line)}", style="dim"))


def _matched_tokens(hit: Hit) -> str:
    """Which tokens answered: `expiry → expires 0.71 (line 12)`."""
    return " · ".join(
        f"{match.query} → {'–' if match.text is None else f'{match.text} {match.similarity:.2f} (line {match.line})'}"
        for match in hit.tokens
    )


def _matched_lines(matched: Matched) -> Iterator[str]:
    """What of the query is in a chunk and what the chunk is made of, a line each; nothing where there is nothing."""
    if matched.terms:
        yield "words    " + " · ".join(f"{field}: {', '.join(found)}" for field, found in matched.terms.items())
    if matched.symbols:
        others = [name for name in matched.symbols if name not in matched.named]
        shown = [*(f"{name} (named)" for name in matched.named), *others]
        more = f" and {len(shown) - _MOST_NAMES} more" if shown[_MOST_NAMES:] else ""
        yield f"defines  {', '.join(shown[:_MOST_NAMES])}{more}"
    if matched.ast_kinds:
        yield "syntax   " + ", ".join(kind if count == 1 else f"{kind} ×{count}" for kind, count in matched.ast_kinds.items())
    if matched.cst_hits:
        yield "concrete " + ", ".join(matched.cst_hits)


def print_place(out: Console, hit: Hit) -> None:
    """Where a result lies, what it is, and its first line."""
    from rich.text import Text

    from pipeline.interfaces.output import printable

    head = Text(f"{hit.rank:>2}  ")
    head.append(printable(hit.uri), style="bold cyan")
    head.append(f":{hit.start_line}-{hit.end_line}")
    if hit.name:
        head.append(f"  {hit.kind} ")
        head.append(printable(hit.name), style="bold")
    out.print(head)
    if hit.preview:
        out.print(Text(f"    {printable(hit.preview)}"), overflow="ellipsis", no_wrap=True)


def _print_channels(searcher: Searcher, answer: Answer, point: OperatingPoint | None) -> None:
    """How the query was read, and how each channel fared."""
    from pipeline.interfaces.output import printable
    from pipeline.search.channels.registry import State

    typer.echo(f"query: read as a {answer.query.kind.value}")
    for name, one in answer.channels.items():
        said = f"{len(one.found.ranking.ids)} candidates in {one.seconds * 1e3:.1f} ms" if one.found else one.reason
        if name == "dense" and one.state is State.ANSWERED:
            said += f"; {_describe_vectors(searcher, point or searcher.opened.point)}"
        typer.echo(f"{name}: {one.state.value}" + (f", {printable(said)}" if said else ""))


def _describe_vectors(searcher: Searcher, point: OperatingPoint) -> str:
    """How the vector index was asked: `ivf_sq8, nprobe=24,k_factor=2; GPU: off, there is no device`."""
    index = searcher.opened.vectors
    asked = ",".join(filter(None, [point.parameters, "" if index.family.exact else f"k_factor={point.k_factor:g}"]))
    return f"{', '.join(filter(None, [index.family.name, asked]))}; {index.gpu}"


def show(
    chunk: Annotated[str, typer.Argument(metavar="ID", help="A chunk's id, as `search --explain` prints it.")],
    version: VersionName = None, rev: Revision = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Print a chunk: where it lies, what it stands in and defines, who calls that and what it calls, and its text."""
    from pipeline.catalog.symbol_table import read_symbols
    from pipeline.catalog.views import connect
    from pipeline.interfaces import answers
    from pipeline.interfaces.commands_symbols import around_lines
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.looking import look
    from pipeline.interfaces.output import print_json, printable, tell_freshness
    from pipeline.store.layout import read_origin, settings_of
    from pipeline.store.versions import open_version

    identifier = answers.chunk_id(chunk)
    store = choose_store(data)
    repository = choose_repository(store, repo)
    settings = settings_of(store, read_origin(repository))
    with open_version(repository, choose_version(repository, version, rev)) as opened:
        looking = look(store, repository, opened, settings)
        folder = opened.ensure("chunks", "embeddings", *answers.symbol_assets(opened))
        with connect(folder, memory_limit="512MB", threads=1) as connection:
            row = answers.chunk(opened, looking.result(), connection, identifier, read_symbols(folder))
    if json:
        print_json(row)
        return
    typer.echo(printable(f"{row['uri']}:{row['start_line']}-{row['end_line']}  {row['kind']} {row['name']}").rstrip())
    for line in around_lines(row):
        typer.echo(line)
    for number, line in enumerate(answers.lines_of(row["content"]), row["start_line"]):
        shown = line.rstrip("\r\n").expandtabs(4)
        typer.echo(f"{number:>6}  {printable(shown)}")
    tell_freshness(opened, looking.result())
