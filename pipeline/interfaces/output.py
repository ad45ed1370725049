"""What commands print: results on standard output, progress and errors on standard error.

Belongs here: rendering. Not here: what is rendered. Rich is imported only when something is drawn with it.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import CodeIntelError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.source.freshness import Freshness
    from pipeline.store.versions import Version


_PIPE_WIDTH = 1 << 20
"""Columns of a console that is no terminal: more than any line has, so that none is broken."""


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    # JSON is UTF-8, whatever the locale says.
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.encode(value, order="deterministic") + b"\n")
    sys.stdout.buffer.flush()


def console() -> Console:
    """A Rich console on standard output that respects NO_COLOR, and neither wraps nor cuts lines in a pipe."""
    from rich.console import Console

    class PlainPipes(Console):
        def on_broken_pipe(self) -> None:
            # Rich would exit with 1; whoever runs the command knows better.
            raise BrokenPipeError

    terminal = sys.stdout.isatty()
    return PlainPipes(highlight=False, soft_wrap=not terminal, width=None if terminal else _PIPE_WIDTH)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """A plain table on standard output; nothing in a cell is read as markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(table)


def print_error(error: CodeIntelError) -> None:
    """One or two sentences on standard error."""
    sys.stderr.write(f"indexctl: {printable(str(error))}\n")


def print_warning(text: str) -> None:
    """Something that did not stop the command, on standard error."""
    sys.stderr.write(f"warning: {printable(text)}\n")


@contextlib.contextmanager
def while_waiting(what: str) -> Iterator[None]:
    """Say on a terminal what goes on, as long as the block lasts."""
    live = sys.stderr.isatty()
    if live:
        sys.stderr.write(f"  … {what}")
        sys.stderr.flush()
    try:
        yield
    finally:
        if live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def printable(text: str) -> str:
    """Text on one line and without control characters, so that a hostile file name can neither drive the terminal nor forge
    a line of output. Wide and unbreakable spaces stay."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or unicodedata.category(character) == "Zs" else "�" for character in text
    )


def as_text(argument: str) -> str:
    """A command-line argument as Unicode. In a locale that is not UTF-8, bytes beyond ASCII arrive as surrogates."""
    if argument.isascii():
        return argument
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def survive_any_encoding() -> None:
    """Print `\\u2713` where a terminal's encoding has no `✓`, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell_freshness(version: Version, fresh: Freshness) -> None:
    """One line on standard error where the repository is not, or may not be, what was answered from."""
    from pipeline.store.versions import current_or_none

    if note := freshness_note(version.name, fresh):
        # Who asks for another version knows that it is old.
        way_out = "; run `indexctl build`" if fresh.stale and version.name == current_or_none(version.repository) else ""
        sys.stderr.write(f"note: {note}{way_out}\n")


def freshness_note(version: str, fresh: Freshness) -> str:
    """What is said of a version that is behind, or may be; nothing of one that is not."""
    if not fresh.checked:
        return f"whether anything changed since {version} was {fresh.reason}"
    if not fresh.stale:
        return ""
    changed = counts(fresh.files, "file") if fresh.files else "the repository"
    commits = f" in {counts(fresh.commits, 'commit')}" if fresh.commits else ""
    why = f" ({printable(fresh.reason).rstrip('.')})" if fresh.reason else ""
    return f"{changed} changed{commits} since {version}{why}"


def moment_of(moment: float | None) -> str:
    """Seconds since the epoch as local time; nothing for None."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment)) if moment else ""


def counts(number: int, singular: str, plural: str | None = None) -> str:
    """`1 chunk`, `2,345 chunks`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


class Steps:
    """Live progress of a build on standard error: one line a step; in place on a terminal, plain lines elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()

    def started(self, name: str) -> None:
        """A step began."""
        if not self._quiet and self._live:
            sys.stderr.write(f"\r\x1b[2K  … {name}")
            sys.stderr.flush()

    def done(self, name: str, *, note: str) -> None:
        """A step ended."""
        if not self._quiet:
            start = "\r\x1b[2K" if self._live else ""
            sys.stderr.write(f"{start}  ✓ {name:<18} {note}\n")
            sys.stderr.flush()

    def failed(self, name: str) -> None:
        """A step failed."""
        if not self._quiet:
            start = "\r\x1b[2K" if self._live else ""
            sys.stderr.write(f"{start}  ✗ {name}\n")
            sys.stderr.flush()

    def note(self, text: str) -> None:
        """A sentence between steps."""
        if not self._quiet:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


def describe_counts(counted: Mapping[str, int], most: int = 99) -> str:
    """`12 ignored, 3 binary`, most frequent first; what is beyond the first `most` is counted."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{count:,} {reason}" for reason, count in ordered[:most])
    return f"{shown} and {len(ordered) - most} more" if len(ordered) > most else shown
