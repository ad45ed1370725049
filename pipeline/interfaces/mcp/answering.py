"""A tool call to the text that an agent gets: the service is asked, and what fits the budget is put on a page.

Belongs here: which pages answer which tool, and errors as text. Not here: the protocol (`server`), processes (`worker`),
wording (`text`), fields (`documents`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import msgspec

from pipeline.errors import CodeIntelError, NotFoundError, QueryError
from pipeline.interfaces.answers import lines_of
from pipeline.interfaces.context import choose_repository
from pipeline.interfaces.mcp import documents, text
from pipeline.interfaces.mcp.budget import tokens
from pipeline.interfaces.mcp.pages import Cursor, Item, asked, read_cursor, take
from pipeline.interfaces.mcp.tools import BUDGET, TOOLS, Extras
from pipeline.interfaces.observing.readiness import Readiness, readiness
from pipeline.interfaces.observing.requests import request as observed
from pipeline.interfaces.serving.failures import Failure, error_document, failure_of, reading
from pipeline.interfaces.serving.requests import DEEPEST, MOST_LINES, MOST_ON_A_PAGE, REQUESTS, parse
from pipeline.interfaces.serving.service import Service
from pipeline.store.layout import open_store
from pipeline.store.versions import version_names

_FOOT = 24
"""Tokens of the words around a cursor and in a count, beside the cursor itself."""
_NAMES = ("repo", "version", "cursor")
_EXTRAS = tuple(Extras.__struct_fields__)
Json = dict[str, Any]


class Reply(msgspec.Struct, frozen=True):
    """What an agent gets: a text, and whether it tells of an error."""

    text: str
    error: bool = False


@dataclass(frozen=True)
class _Call:
    """A call whose arguments were read. `at`: where its page begins."""

    tool: str
    arguments: Json
    extras: Extras
    asked: str
    at: int

    @property
    def json(self) -> bool:
        return self.extras.format == "json"

    def cursor(self, version: str, offset: int) -> str:
        return str(Cursor(version, offset, self.asked))


@dataclass
class Desk:
    """Answers calls about the store in a folder, from many threads; the store may come, go and change meanwhile."""

    data: Path
    repo: str | None = None
    """What calls are about that name no repository; else the one around the working directory, else the only one."""
    _service: Service | None = field(default=None, repr=False)
    _opening: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Repository -> since when it is being opened, before the first call."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answer(self, tool: str, arguments: Mapping[str, Any]) -> Reply:
        """The answer to a call, within its budget; never raises."""
        budget, as_json = BUDGET, arguments.get("format") == "json"
        try:
            with observed("mcp", tool if tool in REQUESTS else "other"), reading(self.data):
                extras, rest = _split(tool, arguments)
                budget = extras.budget
                call = self._read(tool, rest, extras)
                return Reply(_PAGES[tool](self._ask(call), call))
        except Exception as error:
            return _told(failure_of(error), budget, as_json)

    def warm(self) -> None:
        """Open what the first call is going to need. What cannot be opened is told to those that ask."""
        with contextlib.suppress(CodeIntelError, OSError):
            service = self.service()
            name = service.shelf.repository(self._default(service)).name
            self._opening = {name: time.monotonic()}
            try:
                with service.shelf.taken(name) as volume:
                    volume.warm()
                    self._opening = {}
                    service.freshness.of(volume.searcher.version)
                    # The first call does without; others have filters.
                    _ = volume.searcher.opened.catalog
            finally:
                self._opening = {}

    def ready(self) -> Json:
        """Whether calls can be answered, repository by repository (see `observing.readiness`); never raises."""
        try:
            service = self.service()
        except (CodeIntelError, OSError) as error:
            return Readiness(False, failure_of(error).message, ()).as_json()
        now = time.monotonic()
        opening = {name: now - since for name, since in self._opening.items()}
        return readiness(service.store, opening=opening).as_json()

    def service(self) -> Service:
        """The service over the store. Raises `NotFoundError` while there is none."""
        with self._lock:
            if self._service is None:
                self._service = Service(open_store(self.data))
            return self._service

    def close(self) -> None:
        """Let all versions go."""
        if self._service is not None:
            self._service.close()

    def _default(self, service: Service) -> str | None:
        if self.repo is not None:
            return self.repo
        with contextlib.suppress(NotFoundError):
            return choose_repository(service.store, None).name
        return None

    def _read(self, tool: str, rest: Json, extras: Extras) -> _Call:
        service = self.service()
        if "repo" not in rest and tool != "status" and (default := self._default(service)) is not None:
            rest = {**rest, "repo": default}
        mark, at = asked(tool, rest), 0
        if extras.cursor is not None:
            cursor = read_cursor(extras.cursor, tool, rest)
            at = cursor.offset
            if cursor.version:
                rest = {**rest, "version": self._there(service, rest.get("repo"), cursor.version)}
        return _Call(tool, rest, extras, mark, at)

    def _there(self, service: Service, repo: str | None, version: str) -> str:
        """A cursor's version. Raises `NotFoundError` where it is gone."""
        if repo is not None and version not in version_names(service.store.existing(repo)):
            raise NotFoundError(
                f"The version {version}, which `cursor` reads, is gone.", hint="Repeat the call without `cursor`."
            )
        return version

    def _ask(self, call: _Call) -> Json:
        """What the service answers, with as many items as the page may take and one more where that tells of a next page."""
        arguments = dict(call.arguments)
        if call.tool in ("search", "symbols"):
            if call.tool == "search" and call.at > DEEPEST:
                raise QueryError(f"Nobody reads beyond {DEEPEST:,} results.", hint="Ask more precisely.")
            arguments["offset"] = call.at
        elif call.tool == "related":
            # There is no offset: what comes before is found again.
            arguments["k"] = min(call.at + _number(arguments.get("k"), 10), MOST_ON_A_PAGE)
        elif call.tool == "fetch" and call.at:
            arguments["around"] = False
        return self.service().ask(call.tool, arguments, texts=True)


def _number(value: Any, default: int) -> int:
    """A count as it was sent, for arithmetic before the request is checked. Raises `QueryError`."""
    return parse(_Counted, {} if value is None else {"k": value}, texts=True).k or default


class _Counted(msgspec.Struct):
    k: int = 0


def _split(tool: str, arguments: Mapping[str, Any]) -> tuple[Extras, Json]:
    """What is said of the answer, and the request; with what models get wrong put right: nulls and empty names for what is left
    out, one value in place of a list of one, numbers as ids. Raises `QueryError`."""
    if tool not in TOOLS:
        raise QueryError(f"There is no tool `{tool[:40]}`.", hint=f"There are {', '.join(TOOLS)}.")
    given = {key: value for key, value in arguments.items() if value is not None and (value != "" or key not in _NAMES)}
    extras = parse(Extras, {key: given[key] for key in _EXTRAS if key in given}, texts=True)
    described, request = TOOLS[tool], REQUESTS[tool]
    kinds = get_type_hints(request)
    rest = dict(described.given)
    for key, value in given.items():
        if key in _EXTRAS:
            continue
        if key not in kinds or key in described.hidden:
            known = [name for name in (*kinds, *_EXTRAS) if name not in described.hidden]
            raise QueryError(f"`{tool}` has no argument `{key[:40]}`.", hint=f"It takes {', '.join(known)}.")
        if get_origin(kinds[key]) is list and isinstance(value, str):
            value = [value]
        if key == "id" and type(value) is int:
            value = str(value)
        rest[key] = value
    return extras, rest


def _told(failure: Failure, budget: int, as_json: bool) -> Reply:
    """A failure as content: what is wrong, and the way out."""
    if as_json:
        half = budget // 3
        message, hint = text.one_line(failure.message, half), text.one_line(failure.hint, half)
        return Reply(documents.encoded(error_document(failure.code, message, hint)), error=True)
    return Reply(text.shorten(failure.text, budget), error=True)


def _listed(
    answer: Json, call: _Call, values: Sequence[Json], *, key: str, what: str, one: str, version: str, head: Sequence[str],
    item: Callable[[Json, int], Item], smaller: documents.Smaller, more: bool, empty: str,
) -> str:  # fmt: skip
    """A page of a list: `values` are those from the cursor on, `more` whether there may be any behind them."""
    budget = call.extras.budget
    longest = call.cursor(version, 10**6)
    room = budget - tokens(longest) - _FOOT
    if call.json:
        beside = documents.head_within({name: value for name, value in answer.items() if name != key}, room // 2)
        frame = documents.encoded({**beside, key: [], "next_cursor": ""})
        taken = take((documents.item_of(value, smaller) for value in values), room - tokens(frame), between=",")
    else:
        top = "\n".join(text.fitting(head, room // 2))
        items = (item(value, call.at + place) for place, value in enumerate(values, 1))
        taken = take(items, room - tokens(top) - tokens(f"1 {what}, numbers"), between="\n")
    cursor = call.cursor(version, call.at + len(taken)) if more or len(taken) < len(values) else None
    if call.json:
        listed = [msgspec.Raw(one.encode()) for one in taken]
        return documents.encoded({**beside, key: listed, **({"next_cursor": cursor} if cursor else {})})
    if not taken:
        return f"{top}\n{empty}\n" if not call.at else f"{top}\nno more {what}\n"
    paged = cursor is not None or call.at
    first, last = call.at + 1, call.at + len(taken)
    numbers = f"{first:,}" if first == last else f"{first:,}-{last:,}"
    span = f"{what if first < last else one} {numbers}" if paged else f"{len(taken)} {what if len(taken) > 1 else one}"
    foot = f"\nmore {what}: repeat with cursor {cursor}\n" if cursor else f"\nno more {what}\n" if paged else ""
    return "".join([f"{top} · {span}\n" if "\n" not in top else f"{top}\n{span}\n", *("\n" + shown for shown in taken)]) + foot


def _search(answer: Json, call: _Call) -> str:
    filters = [name for name in ("lang", "path", "kind", "module", "defines") if call.arguments.get(name)]
    loosen = f" with these filters; loosen {' or '.join(f'`{name}`' for name in filters)}" if filters else ""
    return _listed(
        {key: value for key, value in answer.items() if key not in ("query", "offset", "more")}, call, answer["results"],
        key="results", what="results", one="result", version=answer["version"], head=text.search_head(answer),
        item=text.result_item, smaller=documents.smaller_result, more=answer["more"] and call.at < DEEPEST,
        empty=f"nothing was found{loosen}",
    )  # fmt: skip


def _related(answer: Json, call: _Call) -> str:
    found = len(answer["results"])
    most = min(call.at + _number(call.arguments.get("k"), 10), MOST_ON_A_PAGE)
    return _listed(
        answer, call, answer["results"][call.at :], key="results", what="neighbours", one="neighbour",
        version=answer["version"], head=text.related_head(answer),
        item=lambda hit, number: text.result_item(hit, number, related=True),
        smaller=documents.smaller_result, more=found == most < MOST_ON_A_PAGE, empty="nothing is near it",
    )  # fmt: skip


def _symbols(answer: Json, call: _Call) -> str:
    shown, total = answer["symbols"], answer["symbol_count"]
    head = [
        text.one_line(f"{answer['repo']} {answer['version']}"), *text.freshness_line(answer),
        f"{total:,} {'symbol is' if total == 1 else 'symbols are'} called {text.one_line(answer['name'], 40)}, or nearly",
    ]  # fmt: skip
    return _listed(
        answer, call, shown, key="symbols", what="symbols", one="symbol", version=answer["version"], head=head,
        item=lambda symbol, number: text.symbol_item(symbol, alone=total == 1), smaller=documents.smaller_symbol,
        more=call.at + len(shown) < total, empty="no symbol",
    )  # fmt: skip


def _status(answer: Json, call: _Call) -> str:
    rows = answer["repos"][call.at :]
    return _listed(
        answer, call, rows, key="repos", what="repositories", one="repository", version="",
        head=[f"{len(answer['repos']):,} indexed here"],
        item=lambda row, number: text.status_item(row), smaller=documents.smaller_status, more=False,
        empty="nothing is indexed; `indexctl build PATH` makes an index",
    )  # fmt: skip


def _fetch(answer: Json, call: _Call) -> str:
    """A page of a text. Its cursor counts characters, so that any text can be read to its end."""
    content, at = answer["content"], min(call.at, len(answer["content"]))
    first = answer["start_line"] + len(lines_of(content[:at])) - 1 if at else answer["start_line"]
    version, budget = answer["version"], call.extras.budget
    room = budget - tokens(call.cursor(version, 10**8)) - 2 * _FOOT
    beyond = "uri" in call.arguments and answer["end_line"] < min(
        answer["lines"], int(call.arguments.get("end_line") or answer["lines"])
    )
    if call.json:
        fields = {key: value for key, value in answer.items() if key != "content"}
        beside = documents.head_within({**fields, "first_line": first, "content": ""}, room // 2)
        end = documents.shown_content(content, at, room - tokens(documents.encoded({**beside, "next_cursor": ""})))
        more = {"next_cursor": call.cursor(version, end)} if end < len(content) else {}
        return documents.encoded({**beside, "content": content[at:end], **more})
    head = _continued(answer, first) if at else text.fetch_head(answer, first)
    top = "\n".join(text.fitting(head, budget // 3)) + "\n"
    # The fence may have to be longer than any in the text.
    lang = answer["lang"]
    room -= tokens(top) + tokens(text.fenced("", lang)) + 16
    end = text.shown_code(content, at, room)
    foot = ""
    if end < len(content):
        foot = f"more: repeat with cursor {call.cursor(version, end)}\n"
    elif beyond:
        foot = f"more: at most {MOST_LINES:,} lines are given; ask from start_line={answer['end_line'] + 1}\n"
    return top + text.fenced(content[at:end], lang) + foot


def _continued(answer: Json, first: int) -> list[str]:
    """What stands above a later page."""
    name = f"{answer['uri']}:{first} (continued)"
    return [text.one_line(f"{answer['repo']} {answer['version']}"), *text.freshness_line(answer), text.one_line(name)]


_PAGES: Mapping[str, Callable[[Json, _Call], str]] = {
    "search": _search,
    "fetch": _fetch,
    "symbols": _symbols,
    "related": _related,
    "status": _status,
}
assert set(_PAGES) == set(TOOLS)
