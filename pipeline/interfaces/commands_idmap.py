"""`indexctl idmap export`, `views` and `materialize`.

Belongs here: where an export may go, and what is printed. Not here: formats (`catalog.idmap_export`), the DuckDB file
(`catalog.database`).
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, VersionName

if TYPE_CHECKING:
    from pipeline.catalog.database import Written
    from pipeline.catalog.idmap_export import Format
    from pipeline.store.layout import Repository, Store
    from pipeline.store.versions import Version

_STANDARD_OUTPUT = "-"


class Form(StrEnum):
    """What an export is written as."""

    parquet = "parquet"
    csv = "csv"
    jsonl = "jsonl"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Which chunk each FAISS row is: as a file, and as tables for your own DuckDB."
    )
    group.command("export")(export)
    group.command("views")(views)
    group.command("materialize")(materialize)
    app.add_typer(group, name="idmap")


def export(
    out: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Else `faiss_idmap.FORMAT` here; `-` for standard output.")
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="Else what the name of the file ends in, else parquet (csv for `-`).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    version: VersionName = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Write {faiss_row, external_id, source} of every row of a version's vector index."""
    from pipeline.catalog.idmap_export import write_idmap
    from pipeline.errors import QueryError
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.output import print_json
    from pipeline.schemas import FaissIdmap
    from pipeline.store.versions import open_version

    chosen: Format = (form or _form_of(out)).value
    if out == _STANDARD_OUTPUT and (json or chosen == "parquet"):
        raise QueryError(
            "Only rows of csv or jsonl go to standard output.", hint="Name a file with --out, or leave out --json."
        )
    store = choose_store(data)
    repository = choose_repository(store, repo)
    target = None if out == _STANDARD_OUTPUT else _target(store, f"faiss_idmap.{chosen}" if out is None else out, force=force)
    with open_version(repository, choose_version(repository, version, None)) as opened:
        idmap = opened.ensure(FaissIdmap.asset) / FaissIdmap.FILE
        if target is None:
            sys.stdout.flush()
            write_idmap(idmap, sys.stdout.buffer, chosen)
            sys.stdout.buffer.flush()
            return
        report = _exported(opened, idmap, target, chosen, force=force)
    if json:
        print_json(report)
    else:
        _print_export(report)


def _form_of(out: str | None) -> Form:
    """The format that a name asks for."""
    if out == _STANDARD_OUTPUT:
        return Form.csv
    suffix = Path(out or "").suffix.lower().removeprefix(".")
    return Form(suffix) if suffix in Form.__members__ else Form.parquet


def _target(store: Store, out: str, *, force: bool) -> Path:
    """Where the export goes. Raises `QueryError` for places that it may not go to, before anything is read."""
    from pipeline.errors import QueryError

    given = Path(out).expanduser()
    if not given.name or given.is_dir():
        raise QueryError(f"{given} is a folder.", hint="Name a file with --out.")
    target = given.resolve()
    if target.is_relative_to(store.root.resolve()):
        raise QueryError(
            f"{out} lies in the store, where nothing but the program writes.", hint="Name a file elsewhere with --out."
        )
    if not target.parent.is_dir():
        raise QueryError(f"There is no folder {given.parent}.", hint="Make it, or name another file with --out.")
    if os.path.lexists(target) and not force:
        raise _exists(out)
    if os.path.lexists(target) and not target.is_file():
        raise QueryError(f"{out} is not a regular file.", hint="Use `--out -` for standard output.")
    return target


def _exists(out: str | Path) -> Exception:
    from pipeline.errors import QueryError

    return QueryError(f"{out} exists.", hint="Write over it with --force, or name another file with --out.")


def _exported(version: Version, idmap: Path, target: Path, form: Format, *, force: bool) -> dict[str, Any]:
    from pipeline.catalog.idmap_export import export_idmap
    from pipeline.errors import CodeIntelError

    try:
        sources = export_idmap(idmap, target, form, overwrite=force)
        size = target.stat().st_size
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        raise CodeIntelError(
            f"{target} cannot be written: {error.strerror or error}.", hint="Name another file with --out."
        ) from error
    return {
        "repo": version.repository.name, "version": version.name, "family": version.manifest.faiss.get("family"),
        "mapping": version.manifest.faiss.get("mapping"), "path": str(target), "format": form, "bytes": size,
        "rows": sum(sources.values()), "sources": sources,
    }  # fmt: skip


def _print_export(report: dict[str, Any]) -> None:
    from pipeline.interfaces.output import counts, printable

    split = ", ".join(f"{rows:,} {source}" for source, rows in report["sources"].items())
    typer.echo(f"wrote {counts(report['rows'], 'row')}{f' ({split})' if split else ''} to {printable(report['path'])}")


def views(repo: Repo = None, data: Data = None, json: Json = False) -> None:
    """Write `catalog.duckdb` beside CURRENT: all views of the published version, for your own DuckDB tools."""
    from pipeline.catalog.database import write_views
    from pipeline.interfaces.output import print_json, printable

    repository, done = _with_settings(repo, data, write_views)
    report = {
        **_report(repository, done),
        "views": list(done.views), "previous": done.previous.version or None if done.previous else None,
        "materialized": done.contents.materialized,
    }  # fmt: skip
    if json:
        print_json(report)
        return
    _tell_set_aside(done)
    moved = done.previous is not None and done.previous.version not in ("", done.contents.version)
    before = f" (before: {done.previous.version})" if moved and done.previous is not None else ""
    typer.echo(f"wrote {len(done.views)} views of {done.contents.version}{before} to {printable(str(done.path))}")


def materialize(repo: Repo = None, data: Data = None, json: Json = False) -> None:
    """Keep the idmap, and chunks joined to it, as tables in `catalog.duckdb`; does nothing where they are up to date."""
    from pipeline.catalog.database import materialize as refresh
    from pipeline.interfaces.output import print_json, printable

    repository, done = _with_settings(repo, data, refresh)
    report = {**_report(repository, done), "status": done.status, "rows": done.rows, "idmap": done.contents.idmap}
    if json:
        print_json(report)
        return
    _tell_set_aside(done)
    tables = ", ".join(f"{name} {rows:,} rows" for name, rows in done.rows.items())
    typer.echo(f"{done.status}: {tables}; {done.contents.version} in {printable(str(done.path))}")


def _with_settings(repo: str | None, data: Path | None, act: Any) -> tuple[Repository, Written]:
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.store.layout import read_origin, settings_of

    store = choose_store(data)
    repository = choose_repository(store, repo)
    return repository, act(repository, settings_of(store, read_origin(repository)).search)


def _report(repository: Repository, done: Written) -> dict[str, Any]:
    return {
        "repo": repository.name, "version": done.contents.version, "path": str(done.path),
        "set_aside": str(done.set_aside) if done.set_aside else None,
    }  # fmt: skip


def _tell_set_aside(done: Written) -> None:
    from pipeline.interfaces.output import printable

    if done.set_aside is not None:
        sys.stderr.write(
            f"note: the {done.path.name} that was there is damaged or not of this program; "
            f"it is now {printable(str(done.set_aside))}\n"
        )
