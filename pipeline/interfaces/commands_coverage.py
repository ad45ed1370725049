"""`indexctl coverage`.

Belongs here: reading the arguments, printing. Not here: which modules are rows and what is worse
(`pipeline.evaluation.coverage_reading`), finding out what is found (`pipeline.evaluation.cover`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, VersionName

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.evaluation.coverage_reading import Module, Tree
    from pipeline.evaluation.document import CoverageDocument

_MOST_ROWS = 40
"""Modules that the repository is cut into where no depth is given."""
_WORST = 15
_WIDE, _LEAST_ROOM = 100, 16
"""Columns from which on a terminal is wide, and those that the first column of a table has in any."""


class By(StrEnum):
    """What rows are."""

    MODULE = "module"
    LANGUAGE = "language"
    KIND = "kind"
    CHANNEL = "channel"
    REASON = "reason"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("coverage")(coverage)


def coverage(
    by: Annotated[By, typer.Option("--by", help="What each row is.")] = By.MODULE,
    depth: Annotated[int | None, typer.Option("--depth", metavar="N", min=1, help="Modules so many levels deep.")] = None,
    module: Annotated[str, typer.Option("--module", metavar="PREFIX", help="Only this folder or file.")] = "",
    worst: Annotated[int, typer.Option("--worst", metavar="N", min=0, help="How many rows, the worst first; 0: all.")] = _WORST,
    missed: Annotated[bool, typer.Option("--missed", help="List the definitions that are not found, and why.")] = False,
    version: VersionName = None, repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """What of the repository is in every index, which definitions are found by their own queries, and why others are not.

    Modules are cut such that each row has about as many definitions; `…` is the rest of a folder. The worst come first.
    """
    from pipeline.errors import QueryError
    from pipeline.interfaces.context import choose_repository, choose_store, choose_version
    from pipeline.interfaces.output import as_text, print_json
    from pipeline.store.versions import open_version

    if depth is not None and (missed or by is not By.MODULE):
        raise QueryError("`--depth` is for modules.", hint="Leave it out, or ask `--by module`.")
    repository = choose_repository(choose_store(data), repo)
    with open_version(repository, choose_version(repository, version, None)) as opened:
        shown = _read(_folder(opened), opened.name, as_text(module))
    rows = _missed(shown.definitions) if missed else _rows(shown, by, depth)
    most = rows[:worst] if worst else rows
    if json:
        print_json({
            "repo": repository.name, "version": shown.version, "k": shown.document.k, "module": shown.top.prefix,
            "total": shown.top.as_json(), "skipped": shown.document.skipped,
            "by": "missed" if missed else by.value, "row_count": len(rows), "rows": most,
        })  # fmt: skip
        return
    _print_head(shown)
    if missed:
        _print_missed(most)
    elif not rows:
        typer.echo(_NOTHING[by] if shown.top.counts["asked"] else "no definition was asked for")
    else:
        _print_rows(most, by, shown.document)
    if len(most) < len(rows):
        sys.stderr.write(f"and {len(rows) - len(most):,} more (--worst {len(rows)} shows them, --json has them whole)\n")


_NOTHING = {
    By.LANGUAGE: "no definitions",
    By.KIND: "no definitions",
    By.CHANNEL: "no channel found any",
    By.REASON: "none is missed",
}


@dataclass(frozen=True, slots=True)
class _Shown:
    """The coverage of a version, or of one module of it."""

    version: str
    document: CoverageDocument
    tree: Tree
    top: Module
    definitions: pa.Table


def _folder(opened: Any) -> Path:
    """The folder with the coverage of a version, which an older one does not have."""
    from pipeline.errors import NotFoundError

    if "coverage" not in opened.manifest.artefacts:
        raise NotFoundError(f"{opened.name} was built without coverage.", hint="Run `indexctl build` with this version.")
    folder: Path = opened.ensure("coverage")
    return folder


def _read(folder: Path, version: str, module: str) -> _Shown:
    import msgspec
    import pyarrow as pa

    from pipeline.errors import IndexCorruptionError, NotFoundError
    from pipeline.evaluation.coverage_reading import read_definitions, read_tree
    from pipeline.evaluation.document import read_coverage
    from pipeline.interfaces.output import counts, printable

    try:
        document, tree = read_coverage(folder), read_tree(folder)
        top = tree.find(module)
        definitions = read_definitions(folder, top.prefix) if top is not None else None
    except (OSError, msgspec.MsgspecError, pa.ArrowException, KeyError) as error:
        raise IndexCorruptionError(
            f"The coverage of {version} cannot be read: {type(error).__name__}.",
            hint="Run `indexctl verify`, then `indexctl build`.",
        ) from error
    if top is None or definitions is None:
        near = [printable(prefix) for prefix in tree.near(module)]
        hint = (
            f"Near it: {', '.join(near)}." if near else f"The repository has {counts(len(tree), 'module')}; give a path in it."
        )
        raise NotFoundError(f"There is no module `{module[:200]}` in {version}.", hint=hint)
    return _Shown(version, document, tree, top, definitions)


def _rows(shown: _Shown, by: By, depth: int | None) -> list[dict[str, Any]]:
    from pipeline.evaluation.coverage_reading import grouped, worst_first

    if by is not By.MODULE:
        return grouped(shown.definitions, by.value)
    tree, top = shown.tree, shown.top
    modules = tree.at_depth(top, depth) if depth is not None else tree.cut(top, _MOST_ROWS)
    return [module.as_json() for module in worst_first(modules)]


def _missed(definitions: pa.Table) -> list[dict[str, Any]]:
    """Definitions that are not found, by reason and place."""
    names = ("uri", "start_line", "end_line", "symbol", "kind", "lang", "reason", "asked", "query", "missing_in", "found_by")
    rows = definitions.select(list(names)).to_pylist()
    return sorted(
        (row for row in rows if row["reason"] is not None), key=lambda row: (row["reason"], row["uri"], row["start_line"])
    )


def _print_head(shown: _Shown) -> None:
    """What there is, in three lines."""
    from pipeline.interfaces.output import console, describe_counts, printable

    counts, out = shown.top.counts, console()
    out.print(f"{printable(shown.top.prefix or 'the whole repository')}, {shown.version}", markup=False, style="bold")
    size = f"{_megabytes(counts['indexed_bytes'])} of {_megabytes(counts['bytes'])}"
    out.print(f"  files        {counts['indexed_files']:,} of {counts['files']:,} are indexed, {size}")
    if not shown.top.prefix and shown.document.skipped:
        others = describe_counts(shown.document.skipped, most=2)
        out.print(f"  skipped      {others}", markup=False)
    if not counts["definitions"]:
        out.print("  definitions  none")
        return
    out.print(f"  definitions  {_of(counts['covered'], counts['definitions'])} lie in every index")
    if counts["asked"]:
        out.print(
            f"  found        {_of(counts['found'], counts['asked'])} within the first {shown.document.k}, by their own queries"
            f"{_carried(shown)}"
        )
    else:
        out.print("  found        none was asked for")


def _carried(shown: _Shown) -> str:
    """How many were asked for in the version's own build, where that was not all."""
    document = shown.document
    if shown.top.prefix or document.asked == document.found.whole:
        return ""
    return f" ({document.asked:,} asked in this build, the rest carried over)"


def _of(part: int, whole: int) -> str:
    from pipeline.evaluation.coverage_reading import percent

    return f"{part:,} of {whole:,} ({percent(part, whole)})"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"


def _print_rows(rows: Sequence[Mapping[str, Any]], by: By, document: CoverageDocument) -> None:
    """A table with a line for each row; what the numbers leave of a narrow terminal is the first column's."""
    from rich.table import Table
    from rich.text import Text

    from pipeline.interfaces.output import console

    out = console()
    columns = list(_columns(by, document))
    cells = [[cell(row) for _, cell in columns] for row in rows]
    gap = 2 if out.width >= _WIDE else 1
    numbers = [max(len(name), *(len(row[place]) for row in cells)) for place, (name, _) in enumerate(columns)][1:]
    room = max(_LEAST_ROOM, out.width - sum(numbers) - gap * len(numbers))
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for name, _ in columns:
        words = name in (by.value, "example")
        table.add_column(name, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for first, *others in cells:
        table.add_row(Text("\n".join(_folded(first, room))), *map(Text, others))
    out.print(table)


def _folded(path: str, room: int) -> Iterator[str]:
    """A path in lines that are not longer, cut behind a slash where there is one."""
    while len(path) > room:
        cut = path.rfind("/", 2, room) + 1 or room
        yield path[:cut]
        path = f"  {path[cut:]}"
    yield path


def _columns(by: By, document: CoverageDocument) -> Iterator[tuple[str, Callable[[Mapping[str, Any]], str]]]:
    """Titles and cells."""
    from pipeline.evaluation.coverage_reading import percent
    from pipeline.interfaces.output import printable
    from pipeline.search.channels.registry import CHANNELS

    def count(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: f"{row[name]:,}"

    def part(name: str, whole: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: percent(row[name], row[whole])

    def channel(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: percent(row["found_by"].get(name, 0), row["asked"])

    if by is By.REASON:
        yield from (("reason", lambda row: row["reason"]), ("defs", count("definitions")), ("asked", count("asked")))
        yield "example", lambda row: printable(row["example"])
        return
    if by is By.CHANNEL:
        yield from (("channel", lambda row: row["channel"]), ("asked", count("asked")), ("found", part("found", "asked")))
        yield "by no other", count("alone")
        return
    if by is By.MODULE:
        yield "module", lambda row: printable(f"{row['prefix']}…" if row["rest"] else row["prefix"] or ".")
        yield "files", part("indexed_files", "files")
    else:
        yield by.value, lambda row: printable(row[by.value]) or "none"
    yield from (("defs", count("definitions")), ("indexed", part("covered", "definitions")))
    if document.found.whole:
        yield from (("asked", count("asked")), ("found", part("found", "asked")))
        if by is By.MODULE:
            yield from ((one.name, channel(one.name)) for one in CHANNELS if one.name in document.by_channel)


def _print_missed(rows: Sequence[Mapping[str, Any]]) -> None:
    """Three short lines a definition: what and where, why, and what was asked."""
    from rich.text import Text

    from pipeline.interfaces.output import console, printable

    out = console()
    if not rows:
        out.print("none is missed")
    for row in rows:
        line = Text(printable(f"{row['uri']}:{row['start_line']}-{row['end_line']}"), style="cyan")
        out.print(line.append(printable(f"  {row['kind']} {row['symbol']}"), style="default"))
        by = f", though {' and '.join(row['found_by'])} had it" if row["found_by"] else ""
        out.print(Text(f"    {row['reason']}{by}"))
        if row["query"] is not None:
            out.print(Text(printable(f"    asked: {row['query']}"), style="dim"))
