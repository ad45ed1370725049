"""Sections about what is in the index: files, languages, definitions, and the folders where something is missing.

Belongs here: what these sections say. Not here: what is read (`reading`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.evaluation.cover.reasons import REASONS
from pipeline.evaluation.coverage_reading import Module
from pipeline.evaluation.document import Share
from pipeline.evaluation.report.figures import NONE, counted, percent, share, size
from pipeline.evaluation.report.markup import Child, Html, element, name
from pipeline.evaluation.report.parts import Column, more, section, table
from pipeline.evaluation.report.reading import Shown

_MOST_REASONS, _MOST_LANGUAGES = 12, 12


def indexed(shown: Shown) -> Html:
    """Files and bytes, by language; what is left out, and why."""
    covered = shown.coverage
    files, taken = covered.files, covered.bytes
    said = (
        f"{files.part:,} of {counted(files.whole, 'file')}, {size(taken.part)} of {size(taken.whole)}, "
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
    inside = covered.definitions
    whole = counted(inside.whole, "definition")
    said = f"{inside.part:,} of {whole} lie inside of chunks that are in every index ({share(inside)})."
    if asked:
        said += (
            f" {covered.found.part:,} of {asked:,} that were asked for are found within {covered.k} ({share(covered.found)})."
        )
    return section("Coverage", element("p", said), _missed(shown), _kinds(shown), _folders(shown))


def _missed(shown: Shown) -> Html:
    columns = [Column(""), Column("definitions", "n"), Column("that is", "roomy")]
    ordered = sorted(shown.coverage.missed.items(), key=lambda item: (-item[1], item[0]))
    rows: list[list[Child]] = [[reason, f"{count:,}", _meaning(reason)] for reason, count in ordered[:_MOST_REASONS]]
    return table("Definitions that are missed, by reason", columns, [("", rows)])


def _meaning(reason: str) -> str:
    """What a reason says. Some have a name in them."""
    known = (meaning for form, meaning in REASONS.items() if reason.startswith(form.partition("{")[0]))
    return REASONS.get(reason) or next(known, "")


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
    """The heat map: parts that together are the repository, the worst first; darker where more is missed."""
    if not shown.modules:
        return Html()
    channels = _channels(shown.modules[0])
    columns = [Column("folder"), Column("definitions", "n roomy")]
    columns += [Column(title, "heat") for title in ("bytes", "in indexes", "found", *channels)]
    lines = [_line(row, channels, whole=not number) for number, row in enumerate(shown.modules)]
    said = (
        "Where it is blind, the worst first: what share of each part is indexed, is in every index, and is found (orange: "
        "what is missed); and what each channel alone finds (blue)"
    )
    return table(said, columns, [("", lines)])


def _line(row: Module, channels: Sequence[str], *, whole: bool) -> list[Child]:
    counts = row.counts
    label = element("strong", "all") if whole else name(row.label, 48) if row.prefix else "elsewhere"
    return [
        label, f"{counts['definitions']:,}", _heat(counts["indexed_bytes"], counts["bytes"]),
        _heat(counts["covered"], counts["definitions"]), _heat(counts["found"], counts["asked"]),
        *(_share_of(row.found_by.get(channel, 0), counts["asked"]) for channel in channels),
    ]  # fmt: skip


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


def _channels(whole: Module) -> list[str]:
    """Those that found any, the one that found most first."""
    return [channel for channel, found in sorted(whole.found_by.items(), key=lambda item: (-item[1], item[0])) if found]
