"""`indexctl sql`: read-only SQL over a version.

Belongs here: the prompt and printing. Not here: what SQL may do (`pipeline.catalog`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, Revision, VersionName

if TYPE_CHECKING:
    import duckdb

_MOST_ROWS = 200
_CELL = 80
_ID_COLUMNS = frozenset({"id", "chunk_id", "external_id", "doc_id"})


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sql")(sql)


def sql(
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="One SELECT or EXPLAIN; without it, a prompt.")] = None,
    version: VersionName = None, rev: Revision = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Query the tables and views of a version with SQL, read-only."""
    from pipeline.catalog.traces import readable
    from pipeline.catalog.views import connect, create_trace_views
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.output import as_text, print_warning
    from pipeline.store.layout import read_origin, settings_of
    from pipeline.store.versions import open_version

    store = choose_store(data)
    repository = choose_repository(store, repo)
    settings = settings_of(store, read_origin(repository)).search
    with open_version(repository, choose_version(repository, version, rev)) as opened:
        folder = opened.ensure(*opened.manifest.artefacts)
        traces = readable(repository.traces)
        for problem in traces.problems:
            print_warning(f"{problem} It is left out.")
        connection = connect(folder, traces=traces, memory_limit=settings.duckdb_memory_limit, threads=settings.duckdb_threads)

        def follow_traces() -> None:
            create_trace_views(connection, readable(repository.traces))

        try:
            if query is not None:
                _answer(connection, as_text(query), json=json)
            else:
                _prompt(connection, before_each=follow_traces, json=json)
        finally:
            connection.close()


def _answer(connection: duckdb.DuckDBPyConnection, text: str, *, json: bool) -> None:
    from pipeline.catalog.sql import query
    from pipeline.interfaces.output import print_json, print_table, printable

    result = query(connection, text)
    result = result.rename_columns(_distinct(result.column_names))
    if json:
        for row in result.to_pylist():
            print_json({name: _json_value(name, value) for name, value in row.items()})
        return
    shown = result.slice(0, _MOST_ROWS).to_pylist()
    if result.column_names == ["explain_key", "explain_value"]:
        typer.echo("\n".join(str(row["explain_value"]) for row in shown))
        return
    print_table(result.column_names, [[printable(_cell(value)) for value in row.values()] for row in shown])
    if result.num_rows > _MOST_ROWS:
        sys.stderr.write(f"the first {_MOST_ROWS} of {result.num_rows:,} rows; --json prints all\n")


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names, those that came before with `_1`, `_2`… behind them: a row is an object, and loses none."""
    taken: dict[str, None] = {}
    for name in names:
        candidates = (name, *(f"{name}_{count}" for count in range(1, len(names))))
        taken[next(candidate for candidate in candidates if candidate not in taken)] = None
    return list(taken)


def _json_value(name: str, value: Any) -> Any:
    """Ids are text whatever their size, and so is every other integer past 2^53, which JavaScript would lose."""
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, int) and not isinstance(value, bool) and (name in _ID_COLUMNS or abs(value) > 1 << 53):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return value


def _cell(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.hex()
    if isinstance(value, list) and len(value) > 8:
        value = f"[{', '.join(str(item) for item in value[:4])}, … {len(value)} values]"
    text = " ".join(str(value).split()) if value is not None else ""
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _prompt(connection: duckdb.DuckDBPyConnection, *, before_each: Callable[[], None], json: bool) -> None:
    from pipeline.errors import QueryError
    from pipeline.interfaces.output import as_text, print_error

    interactive = sys.stdin.isatty()
    if interactive:
        import contextlib

        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives input() a history
        typer.echo("Read-only SQL, each statement up to a `;`. `SHOW TABLES;` lists what there is; Ctrl-D ends.")
    pending = ""
    while True:
        try:
            line = as_text(input("sql> " if interactive and not pending else "  …> " if interactive else ""))
        except EOFError:
            break
        pending = f"{pending}\n{line}" if pending else line
        if not pending.rstrip().endswith(";"):
            continue
        before_each()
        pending = _try(connection, pending, json=json, interactive=interactive, refused=(QueryError, print_error))
    if pending.strip():
        _try(connection, pending, json=json, interactive=interactive, refused=(QueryError, print_error))
    if interactive:
        typer.echo("")


def _try(connection: duckdb.DuckDBPyConnection, text: str, *, json: bool, interactive: bool, refused: Any) -> str:
    """Answer one statement; at a terminal a refusal does not end the session. Returns what is pending: nothing."""
    kind, report = refused
    try:
        _answer(connection, text, json=json)
    except kind as error:
        if not interactive:
            raise
        report(error)
    return ""
