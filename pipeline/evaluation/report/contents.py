"""Sections about what is in the index: files, languages, definitions, and the folders where something is missing.

Belongs here: what these sections say. Not here: what is read (`reading`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.document import Share
from pipeline.evaluation.report.figures import NONE, counted, percent, share, size
from pipeline.evaluation.report.markup import Child, Html, element, join, name
from pipeline.evaluation.report.parts import Column, more, section, table
from pipeline.evaluation.report.reading import Shown

_MOST_REASONS, _MOST_LANGUAGES, _MOST_FOLDERS = 12, 12, 40


def indexed(shown: Shown) -> Html:
    """Files and bytes, by language; what is left out, and why."""
    covered = shown.coverage
    said = (
        f"{covered.files.part:,} of {counted(covered.files.whole, 'file')}, {size(covered.bytes.part)} of {size(covered.bytes.whole)}, "
        f"cut into {counted(shown.chunks, 'chunk')}."
    )
    columns = [
        Column(""),
        Column("files", "n"),
        Column("indexed", "n"),
        Column("bytes", "n roomy"),
        Column("definitions found", "n"),
    ]
    rows: list[list[Child]] = [
        [one.name, f"{one.files:,}", f"{one.indexed:,}", size(one.bytes), _found(covered.by_language.get(one.name))]
        for one in shown.languages[:_MOST_LANGUAGES]
    ]
    left_columns = [Column(""), Column("files", "n"), Column("bytes", "n"), Column("the largest")]
    left: list[list[Child]] = [
        [one.reason.replace("_", " "), f"{one.files:,}", size(one.bytes) if one.bytes else NONE, name(one.example)]
        for one in shown.skipped[:_MOST_REASONS]
    ]
    return section(
        "What is indexed, and what is not",
        element("p", said),
        table("Indexed, by language", columns, [("", rows)]),
        more(len(shown.languages) - _MOST_LANGUAGES, "languages"),
        table("Left out, by reason", left_columns, [("", left)]) or element("p", "Nothing is left out."),
        more(len(shown.skipped) - _MOST_REASONS, "reasons"),
    )


def _found(of: Share | None) -> str:
    return f"{share(of)} of {of.whole:,}" if of is not None and of.whole else NONE


def coverage(shown: Shown) -> Html:
    """Which definitions are in every index and which are found, by folder."""
    covered = shown.coverage
    if not covered.definitions.whole:
        return section(
            "Coverage",
            element("p", "No definitions are known in the indexed files, so there is none to look for.", class_="soft"),
        )
    asked = covered.found.whole
    said = f"{covered.definitions.part:,} of {counted(covered.definitions.whole, 'definition')} lie inside of chunks that are in every index ({share(covered.definitions)})."
    if asked:
        said += (
            f" {covered.found.part:,} of {asked:,} that were asked for are found within {covered.k} ({share(covered.found)})."
        )
    return section("Coverage", element("p", said), _missed(shown), _kinds(shown), _folders(shown))


def _missed(shown: Shown) -> Html:
    columns = [Column(""), Column("definitions", "n")]
    ordered = sorted(shown.coverage.missed.items(), key=lambda item: (-item[1], item[0]))
    rows: list[list[Child]] = [[reason.replace("_", " "), f"{count:,}"] for reason, count in ordered[:_MOST_REASONS]]
    return table("Definitions that are missed, by reason", columns, [("", rows)])


def _kinds(shown: Shown) -> Html:
    columns = [Column(""), Column("asked for", "n"), Column("found", "n")]
    kinds = {"by kind": shown.coverage.by_kind, "by channel": shown.coverage.by_channel}
    groups = [
        (
            title,
            [
                [what, f"{of.whole:,}", share(of)]
                for what, of in sorted(of_all.items(), key=lambda item: (-item[1].whole, item[0]))
            ],
        )
        for title, of_all in kinds.items()
    ]
    return table("Definitions found by their own queries", columns, [(title, rows[:_MOST_REASONS]) for title, rows in groups])


def _folders(shown: Shown) -> Html:
    """The heat map: folders as a tree, among neighbours the worst first; darker where more is missed."""
    folders = [row for row in shown.modules if row["definitions"] and (not row["prefix"] or row["prefix"].endswith("/"))]
    if len(folders) < 2:
        folders = [row for row in shown.modules if row["definitions"]]
    if not folders:
        return Html()
    rows = _largest(folders)
    channels = _channels(folders)
    columns = [
        Column("folder"),
        Column("definitions", "n"),
        Column("bytes indexed", "heat"),
        Column("in chunks", "heat"),
        Column("found", "heat"),
    ]
    columns += [Column(channel, "heat") for channel in channels]
    lines: list[list[Child]] = [_line(row, channels) for row in rows]
    said = "Where it is blind: the share of each folder that is indexed, cut into chunks, and found (orange: missed); and what each channel alone finds (blue)"
    return join([table(said, columns, [("", lines)]), more(len(folders) - len(rows), "folders")])


def _line(row: Mapping[str, Any], channels: Sequence[str]) -> list[Child]:
    found = {one["channel"]: one["found"] for one in row["found_by"]}
    indent = element("span", name(_last(row["prefix"]), 48), style=f"padding-left:{1.1 * row['depth']:.1f}rem")
    cells = [
        _heat(row["indexed_bytes"], row["bytes"]),
        _heat(row["chunked"], row["definitions"]),
        _heat(row["found"], row["asked"]),
    ]
    return [
        indent,
        f"{row['definitions']:,}",
        *cells,
        *(_share_of(found.get(channel, 0), row["asked"]) for channel in channels),
    ]


def _last(prefix: str) -> str:
    """The part of a prefix that its parent does not have."""
    if not prefix:
        return "the repository"
    end = "/" if prefix.endswith("/") else ""
    return prefix.rstrip("/").rsplit("/", 1)[-1] + end


def _heat(part: int, whole: int) -> Html:
    if not whole:
        return element("td", NONE, class_="heat soft", style="--x:0")
    return element(
        "td", percent(part / whole, 0), class_="heat", style=f"--x:{1 - part / whole:.2f}", title=f"{part:,} of {whole:,}"
    )


def _share_of(part: int, whole: int) -> Html:
    """Of one channel: it need not find everything, so that what it finds is coloured, and not what it misses."""
    shown = percent(part / whole, 0) if whole else NONE
    return element(
        "td", shown, class_="heat cool", style=f"--x:{part / whole if whole else 0:.2f}", title=f"{part:,} of {whole:,}"
    )


def _channels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those that found any, the one that found most first."""
    top = min(rows, key=lambda row: row["depth"])
    counts = {one["channel"]: one["found"] for one in top["found_by"]}
    return [channel for channel, found in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if found]


def _largest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """As many as are shown, where most is missed, each with the folders above it; then as a tree, the worst neighbour first."""
    by_prefix = {row["prefix"]: row for row in rows}
    kept: set[str] = set()
    for row in sorted(rows, key=lambda row: (-_missing(row), row["depth"], row["prefix"])):
        above = [row["prefix"]]
        while (parent := by_prefix[above[-1]]["parent"]) is not None and parent in by_prefix:
            above.append(parent)
        if len(kept | set(above)) <= _MOST_FOLDERS:
            kept |= set(above)
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for prefix in kept:
        row = by_prefix[prefix]
        below.setdefault(row["parent"] if row["parent"] in by_prefix else None, []).append(row)
    return _tree(below, None)


def _tree(below: Mapping[str | None, Sequence[Mapping[str, Any]]], parent: str | None) -> list[Mapping[str, Any]]:
    """In pre-order, without recursion: folders can be nested deeper than a program may call itself."""
    found, waiting = [], _worst_last(below.get(parent, ()))
    while waiting:
        row = waiting.pop()
        found.append(row)
        waiting += _worst_last(below.get(row["prefix"], ()))
    return found


def _worst_last(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: (-_missing(row), row["prefix"]), reverse=True)


def _missing(row: Mapping[str, Any]) -> int:
    """Definitions that are not in chunks or not found."""
    return int(row["definitions"] - row["chunked"] + row["asked"] - row["found"])
