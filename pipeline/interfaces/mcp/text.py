"""Answers as text that a model reads well: `path:12-40 method Name`, why it is there, the code.

Belongs here: the wording and the lines of answers. Not here: how many of them fit (`pages`), JSON (`documents`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.interfaces.answers import lines_of
from pipeline.interfaces.mcp.budget import ELLIPSIS, characters_within, clipped, lines_within, tokens
from pipeline.interfaces.mcp.pages import Item
from pipeline.interfaces.output import counts, describe_counts, freshness_note, printable
from pipeline.source.freshness import Freshness

Json = Mapping[str, Any]
_MOST_NOTE, _MOST_PATH, _MOST_NAMES = 80, 300, 12
_MOST_RELATED = 10
"""Of each kind, where a name has several symbols."""
_LONGEST_FENCE = 16
_SPELT = "name"
"""The kind of what is spelt so and not resolved."""
_FENCES = re.compile(r"`{3,}")
_RELATIONS = (
    ("bases", "base_count", "derives from"),
    ("implementations", "implementation_count", "implemented by"),
    ("callers", "caller_count", "called by"),
    ("callees", "callee_count", "calls"),
)


def one_line(text: str, room: int = _MOST_NOTE) -> str:
    """What may stand in a line: nothing in a hostile name can forge another."""
    return clipped(printable(text), room)


def freshness_line(answer: Json) -> list[str]:
    """One line where the repository is not, or may not be, what was answered from."""
    note = freshness_note(answer["version"], Freshness(stale=answer["stale"], **answer["behind"]))
    way_out = "; `indexctl build` makes a new index" if answer["stale"] else ""
    return [one_line(f"note: {note}{way_out}")] if note else []


def fitting(lines: Sequence[str], room: int) -> list[str]:
    """The lines above an answer, without those that there is no room for; the first is cut where it must be."""
    kept = [clipped(lines[0], room)]
    room -= tokens(kept[0]) + 1
    for line in lines[1:]:
        cost = tokens(line) + 1
        if cost <= room:
            kept.append(line)
            room -= cost
    return kept


def place(chunk: Json) -> str:
    """`path:12-40 method QuerySet.filter`."""
    lines, name = f"{chunk['start_line']}-{chunk['end_line']}", f"{chunk['kind']} {chunk['name']}".rstrip()
    return f"{one_line(chunk['uri'], _MOST_PATH)}:{lines} {one_line(name)}"


def search_head(answer: Json) -> list[str]:
    """What stands above the results of a search."""
    broken = [f"{name} ({told['reason']})" for name, told in answer["channels"].items() if told["state"] == "broken"]
    return [
        one_line(f"{answer['repo']} {answer['version']}"),
        *freshness_line(answer),
        *([one_line(f"note: could not be asked: {', '.join(broken)}")] if broken else []),
        *([f"note: {answer['unread']:,} characters of the query were not read"] if answer.get("unread") else []),
    ]


def result_item(hit: Json, number: int, *, related: bool = False) -> Item:
    """A result of `search` or `related`."""
    head = f"[{number}] {place(hit)} (id {hit['id']})\n"
    why = f"why: {_because(hit) if related else _why(hit)}\n"
    told = "".join(f"{line}\n" for line in _matched(hit.get("matched")))
    code = hit.get("content")
    code = code and code.rstrip() + "\n"
    around = head + why + told
    if code is None:
        return Item(around + f"    {one_line(hit['preview'].strip())}\n", lambda room: _shortest(around, hit, room))

    def within(room: int) -> str | None:
        rest = room - tokens(around)
        cut = cut_code(hit, code, rest)
        return _shortest(head, hit, room) if cut is None else around + cut

    return Item(around + fenced(code, hit["lang"]), within)


def _shortest(head: str, hit: Json, room: int) -> str | None:
    """A result without its code."""
    told = f"{head}({_rest(hit, hit['start_line'])})\n"
    return told if tokens(told) <= room else None


def _why(hit: Json) -> str:
    channels = hit["explanation"].items()
    parts = [
        f"{name} #{told['rank']}" + (f" ({', '.join(told['symbols'][:3])})" if told.get("symbols") else "")
        for name, told in sorted(channels, key=lambda one: -one[1]["contribution"])
    ]
    return one_line("; ".join(parts + [f"{name} ×{factor:.2g}" for name, factor in hit["adjustments"].items()]))


def _because(hit: Json) -> str:
    channels = hit["explanation"].items()
    return one_line("; ".join(
        f"{name} {', '.join(told.get('symbols', [])[:3])}".rstrip()
        for name, told in sorted(channels, key=lambda one: -one[1]["contribution"])
    ))  # fmt: skip


def _matched(matched: Json | None) -> Iterator[str]:
    """What of the query is in a chunk, where that was asked for."""
    if matched is None:
        return
    terms = "; ".join(f"{where}: {', '.join(words)}" for where, words in matched["terms"].items())
    for title, told in (("words", terms), ("named", ", ".join(matched["named"])), ("at", ", ".join(matched["cst_hits"]))):
        if told:
            yield one_line(f"{title}: {told}")


def fenced(code: str, lang: str) -> str:
    """Code between fences that are longer than any in it."""
    fence = "`" * min(max([3, *(len(run) + 1 for run in _FENCES.findall(code))]), _LONGEST_FENCE)
    return f"{fence}{lang}\n{code}{'' if code.endswith(chr(10)) else chr(10)}{fence}\n"


def cut_code(chunk: Json, code: str, room: int) -> str | None:
    """The first lines of code between fences, and how to read the rest; None where not even a line fits."""
    lines = lines_of(code)
    last = f"({_rest(chunk, chunk['end_line'])})\n"
    kept = lines_within(lines, room - tokens(fenced("", chunk["lang"])) - tokens(last) - 2)
    while kept:
        text = fenced("".join(lines[:kept]), chunk["lang"]) + f"({_rest(chunk, chunk['start_line'] + kept)})\n"
        if tokens(text) <= room:
            return text
        kept -= 1
    return None


def _rest(chunk: Json, line: int) -> str:
    """How to read the lines of a chunk from one on."""
    left = chunk["end_line"] - line + 1
    return f"cut here; {counts(left, 'line')} from {line}: fetch id {chunk['id']}, or uri and start_line {line}"


def shown_code(content: str, offset: int, room: int) -> int:
    """The end of what fits of a text from an offset on, in whole lines where a line fits."""
    lines = lines_of(content[offset:])
    kept = lines_within(lines, room)
    return offset + (sum(map(len, lines[:kept])) or characters_within(content[offset:], room))


def fetch_head(answer: Json, first: int) -> list[str]:
    """What stands above a chunk or the lines of a file, of which `first` is shown first."""
    if "id" not in answer:
        where = f"{answer['uri']}:{first} of {answer['lines']:,} lines"
        return [one_line(f"{answer['repo']} {answer['version']}"), *freshness_line(answer), one_line(where)]
    head = [one_line(f"{answer['repo']} {answer['version']}"), *freshness_line(answer), one_line(place(answer))]
    scope = " › ".join(f"{one['kind']} {one['name'].rpartition('.')[2]}" for one in answer.get("scope", ()))
    names = list(dict.fromkeys(one["qualified_name"] for one in answer.get("defines", ())))
    head += [one_line(f"in: {scope}")] if scope else []
    head += _names("defines", names, len(names))
    head += _names("called by", answer.get("callers", ()), answer.get("caller_count", 0))
    head += _names("calls", answer.get("callees", ()), answer.get("callee_count", 0))
    return head


def _names(title: str, names: Sequence[str], total: int) -> list[str]:
    shown = names[:_MOST_NAMES]
    rest = f" and {total - len(shown):,} more" if total > len(shown) else ""
    return [one_line(f"{title}: {', '.join(shown)}") + rest] if shown else []


def symbol_item(symbol: Json, *, alone: bool) -> Item:
    """A symbol: what it is, where it is defined, and what is around it; of that less where it is not the only one."""
    most = None if alone else _MOST_RELATED
    lines = [f"{one_line(symbol['qualified_name'])} — {symbol['kind'] or 'symbol'}, from {symbol['provenance']}\n"]
    if symbol["kind"] == _SPELT:
        lines.append("  spelt so, but syntax alone cannot tell what is meant\n")
    if signature := " ".join(symbol["signature"].split()):
        lines.append(f"  {one_line(signature)}\n")
    if summary := next((line.strip() for line in symbol["documentation"].splitlines() if line.strip()), ""):
        lines.append(f"  {one_line(summary)}\n")
    lines += [f"  defined {where}\n" for where in _places(symbol["definitions"])]
    for relation, count, title in _RELATIONS:
        lines += _listed(title, [f"{one['qualified_name']} {_where(one)}" for one in symbol[relation][:most]], symbol[count])
    references = symbol["references"]
    lines += _listed("referred to", _places(references), symbol["reference_count"], shown=len(references))

    def within(room: int) -> str | None:
        left = "  … {} of this symbol cut; ask with a larger budget, a smaller k, or one qualified name\n"
        kept = lines_within(lines, room - tokens(left) - 8)
        return "".join(lines[:kept]) + left.format(counts(len(lines) - kept, "line")) if kept else None

    return Item("".join(lines), within)


def _listed(title: str, places: Sequence[str], total: int, shown: int | None = None) -> list[str]:
    """A line for each place below a title that says how many there are."""
    shown = len(places) if shown is None else shown
    if not total:
        return []
    rest = f" (the first {shown:,})" if 0 < shown < total else ""
    return [f"  {title} ({total:,}){rest}\n", *(f"    {one_line(where)}\n" for where in places)]


def _places(places: Sequence[Json]) -> list[str]:
    """Places by file: `path:12,40,41`."""
    by_file = dict[str, dict[int, None]]()
    for one in places:
        by_file.setdefault(one["uri"], {})[one["line"]] = None
    return [f"{printable(uri)}:{','.join(map(str, lines))}" for uri, lines in by_file.items()]


def _where(one: Json) -> str:
    return "(outside of this repository)" if one["uri"] is None else one["uri"] + (f":{one['line']}" if one["line"] else "")


def status_item(row: Json) -> Item:
    """What is published of a repository."""
    if row["version"] is None:
        text = f"{one_line(row['repo'])}: {one_line(row['problem'])}\n"
        return Item(text, lambda room: None)
    commit = row["commit"][:12] if row["commit"] else "no commit"
    lines = [
        f"{one_line(row['repo'])} {row['version']}\n",
        one_line(f"  made from {commit}{' with uncommitted changes' if row['dirty'] else ''}, published {_moment(row)}") + "\n",
        *(f"  {line}\n" for line in freshness_line(row) or ["up to date"]),
        *(["  a build is running\n"] if row["building"] else []),
        one_line(f"  {row['chunks']:,} chunks; files: {describe_counts(row['languages'])}") + "\n",
        one_line(f"  vectors by {row['embedder']}" + (f", recall {row['recall']:.3f}" if row["recall"] else "")) + "\n",
    ]
    symbols = row.get("symbols")
    if symbols:
        precise, by_name = symbols["precise_files"], symbols["syntax_files"]
        lines.append(f"  symbols: {counts(precise, 'file')} resolved by an indexer, {counts(by_name, 'file')} by name alone\n")

    def within(room: int) -> str | None:
        return "".join(lines[: lines_within(lines, room)]) or None

    return Item("".join(lines), within)


def _moment(row: Json) -> str:
    at = row["published_at"]
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC" if at else "at an unknown time"


def related_head(answer: Json) -> list[str]:
    """What stands above the neighbours of a chunk."""
    copies = [f"{one['uri']}:{one['start_line']}" for one in answer["duplicates"][:_MOST_NAMES]]
    rest = len(answer["duplicates"]) - len(copies)
    return [
        one_line(f"{answer['repo']} {answer['version']}"),
        *freshness_line(answer),
        one_line(f"near {place(answer['chunk'])}"),
        *([one_line(f"exact copies, left out: {', '.join(copies)}{f' and {rest:,} more' if rest else ''}")] if copies else []),
    ]


def shorten(text: str, room: int) -> str:
    """The beginning of a text of several lines."""
    if tokens(text) <= room:
        return text
    return text[: characters_within(text, room - tokens(ELLIPSIS) - 1)] + "\n" + ELLIPSIS
