"""What may be asked of a server, with its bounds: the one place from which schemas of MCP tools and of OpenAPI come.

Bounds keep one request from costing minutes; whoever needs more than a server gives runs `indexctl` beside the store.

Belongs here: the shape of requests. Not here: answers (`answers`), what a transport adds (`http`, `mcp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from pipeline.errors import QueryError

MOST_ON_A_PAGE = 100
DEEPEST = 1000
"""Results before the first one of a page: nobody reads on so far, and each costs what those before it cost."""
MOST_LINES = 5000
"""Of a file in one answer."""
MOST_QUERY = 1 << 16
"""Characters; a search reads fewer, and says so."""
_LONGEST_NAME, _LONGEST_PATH = 1024, 4096

Name = Annotated[str, Meta(min_length=1, max_length=100)]
Values = Annotated[list[Annotated[str, Meta(min_length=1, max_length=_LONGEST_NAME)]], Meta(max_length=100)]
ChunkId = Annotated[str, Meta(pattern="^[0-9]{1,19}$")]
LineNumber = Annotated[int, Meta(ge=1, le=1 << 31)]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every request may say: which repository is meant, and which version of it."""

    repo: Annotated[
        Name | None, Meta(description="The repository; may be left out where only one is indexed. `status` lists them.")
    ] = None
    version: Annotated[
        Name | None, Meta(description="A version's name, or the beginning of one, in place of the published one.")
    ] = None


class _Filtered(Request, frozen=True, kw_only=True):
    k: Annotated[int, Meta(ge=1, le=MOST_ON_A_PAGE, description="How many results.")] = 10
    lang: Annotated[Values, Meta(description="Only these languages, such as `python`.")] = msgspec.field(default_factory=list)
    path: Annotated[
        Values, Meta(description="Only paths that match one of these globs, in gitignore syntax: `src/**/*.py`, `/tests/`.")
    ] = msgspec.field(default_factory=list)
    kind: Annotated[Values, Meta(description="Only these kinds of chunk, such as `class`, `function`, `method`, `module`.")] = (
        msgspec.field(default_factory=list)
    )


class Search(_Filtered, frozen=True, kw_only=True):
    """Chunks of code that are about something, best first."""

    query: Annotated[
        str,
        Meta(min_length=1, max_length=MOST_QUERY, description="What is looked for: a sentence, an error message, or a name."),
    ]
    module: Annotated[
        Values, Meta(description="Only these files or folders, as a path (`django/db`) or dotted (`django.db.models`).")
    ] = msgspec.field(default_factory=list)
    defines: Annotated[
        Values, Meta(description="Only chunks that define one of these names, plain or qualified (`QuerySet.filter`).")
    ] = msgspec.field(default_factory=list)
    offset: Annotated[int, Meta(ge=0, le=DEEPEST, description="Skip so many results: the next page.")] = 0
    content: Annotated[bool, Meta(description="Whether each result has its code, and not only its first line.")] = False
    explain: Annotated[bool, Meta(description="Whether to tell what of the query matched each result.")] = False
    params: Annotated[
        str, Meta(max_length=100, description="Search the vector index at another point: `nprobe=64` or `efSearch=128`.")
    ] = ""
    k_factor: Annotated[
        Annotated[float, Meta(ge=1, le=100)] | None, Meta(description="Re-rank so many vectors for each one asked.")
    ] = None


class Fetch(Request, frozen=True, kw_only=True):
    """A chunk by its id, or lines of a file as it was indexed. Give `id`, or `uri`."""

    id: Annotated[ChunkId | None, Meta(description="The id of a chunk, as `search` gives it.")] = None
    uri: Annotated[
        Annotated[str, Meta(min_length=1, max_length=_LONGEST_PATH)] | None,
        Meta(description="A file, by its path from the top of the repository."),
    ] = None
    start_line: Annotated[LineNumber, Meta(description="The first line of the file to give; lines start at 1.")] = 1
    end_line: Annotated[LineNumber | None, Meta(description=f"The last line; at most {MOST_LINES:,} are given.")] = None
    around: Annotated[
        bool, Meta(description="Whether to tell what the chunk stands in and defines, who calls that, and what it calls.")
    ] = True


class Symbols(Request, frozen=True, kw_only=True):
    """Where a name is defined and referred to, what implements it, who calls it, and what it calls."""

    name: Annotated[
        str,
        Meta(
            min_length=1, max_length=_LONGEST_NAME, description="A name, also qualified (`QuerySet.filter`), or a SCIP symbol."
        ),
    ]
    k: Annotated[int, Meta(ge=0, le=1000, description="How many references of each symbol.")] = 20
    most: Annotated[int, Meta(ge=1, le=MOST_ON_A_PAGE, description="How many symbols of that name.")] = 20
    offset: Annotated[int, Meta(ge=0, le=1 << 31, description="Skip so many symbols: the next page.")] = 0
    refs: Annotated[bool, Meta(description="Whether to list references.")] = True


class Related(_Filtered, frozen=True, kw_only=True):
    """What is near a chunk: what it calls, imports and derives from and the other way round, and what is like it."""

    id: Annotated[ChunkId, Meta(description="The id of a chunk, as `search` gives it.")]


class Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is indexed, from which commit, how good it is, and whether it is behind."""

    repo: Annotated[Name | None, Meta(description="Only this repository.")] = None


REQUESTS: Mapping[str, type[msgspec.Struct]] = {
    "search": Search,
    "fetch": Fetch,
    "symbols": Symbols,
    "related": Related,
    "status": Status,
}
Operation = Literal["search", "fetch", "symbols", "related", "status"]
T = TypeVar("T", bound=msgspec.Struct)


def parse(kind: type[T], arguments: Mapping[str, Any], *, texts: bool = False) -> T:
    """A request from what somebody sent. With `texts` numbers and truth may be written as text, as in a URL.

    Raises `QueryError` naming the argument and its bound.
    """
    try:
        return msgspec.convert(arguments, kind, strict=not texts)
    except msgspec.ValidationError as error:
        raise QueryError(f"The request cannot be answered: {_sentence(str(error))}.") from None


def _sentence(said: str) -> str:
    """`Expected `int` >= 1 - at `$.k`` as `k: expected `int` >= 1`."""
    what, _, place = said.partition(" - at `$.")
    what = what[:1].lower() + what[1:]
    return f"`{place.rstrip('`')}`: {what}" if place else what
