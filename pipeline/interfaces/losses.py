"""What `status` and `build` say about files that a version could not take.

Belongs here: counting and wording. Not here: where losses are written down (`catalog.losses`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.interfaces.output import counts, printable

if TYPE_CHECKING:
    from pipeline.store.versions import Version

_SYMBOLS = ("scip_index", "scip_occurrences")
_MOST_REASONS = 4
_MUCH = 0.1
"""The share of files that have changed since they were indexed above which a build tells of it. A status always does."""


def describe_losses(version: Version, *, every_file: bool = False) -> dict[str, Any]:
    """The fields `symbols` and `cst` of a status, and `losses` (artefact, uri, reason) with `every_file`; empty for a version
    without symbols. Raises IndexCorruptionError where what was written down is damaged."""
    from pipeline.catalog.losses import indexers, losses

    artefacts = version.manifest.artefacts
    if not {*_SYMBOLS, "cst_nodes"} <= artefacts.keys():
        return {}
    found = losses(version.path)
    rows = found.to_pylist()
    symbols, cst = artefacts["scip_occurrences"].facts, artefacts["cst_nodes"].facts
    reasons: Counter[str] = Counter(row["reason"] for row in rows if row["artefact"] in _SYMBOLS)
    described = {
        "symbols": {
            "precise_files": symbols["precise_files"],
            "syntax_files": symbols["syntax_files"],
            "left_out": dict(reasons.most_common()),
            "indexers": [
                {"language": one.language, "tool": one.tool, "status": one.status, "problem": one.problem,
                 "left_out": len(one.lost), "files": one.files_given, "moved": one.moved}
                for one in indexers(version.path)
            ],
        },
        "cst": {"files": cst["files"], "rejected": cst["rejected"]},
    }  # fmt: skip
    return described | ({"losses": rows} if every_file else {})


def loss_lines(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines of `status` as (what, text), from the fields of `describe_losses`."""
    if "symbols" not in row:
        return
    symbols, cst = row["symbols"], row["cst"]
    reasons = list(symbols["left_out"].items())
    shown = ", ".join(f"{printable(reason)} ({number:,})" for reason, number in reasons[:_MOST_REASONS])
    more = f" and {counts(len(reasons) - _MOST_REASONS, 'other reason')}" if len(reasons) > _MOST_REASONS else ""
    by_syntax = f"{symbols['precise_files']:,} files precise, {symbols['syntax_files']:,} by syntax"
    yield "symbols", by_syntax + (f"; left out: {shown}{more}" if reasons else "")
    for note in (*_problems(symbols), *_ages(symbols)):
        yield "", note
    rejected = f", {cst['rejected']:,} rejected by libcst" if cst["rejected"] else ""
    yield "cst", counts(cst["files"], "file") + rejected


def build_notes(version: Version) -> Iterator[str]:
    """What a build has to say of its losses; nothing where nothing was lost.

    That an indexer is not installed, or was told not to run, is no loss of a build; `status` tells it.
    """
    from pipeline.structure.scip.documents import TWICE, UNKNOWN
    from pipeline.structure.scip.outcomes import ADDED, CHANGED

    described = describe_losses(version, every_file=True)
    if not described:
        return
    symbols, lost = described["symbols"], described["losses"]
    absent = [one for one in symbols["indexers"] if one["status"] == "absent"]
    expected = [one for one in symbols["indexers"] if one["status"] not in ("absent", "off")]
    yield from (f"symbols: {problem}" for problem in _problems({"indexers": expected}))
    reasons = {row["uri"]: row["reason"] for row in lost if row["artefact"] in _SYMBOLS}
    gone = sum(reason == UNKNOWN for reason in reasons.values())
    passed_over = (UNKNOWN, TWICE, CHANGED, ADDED, *(one["problem"] for one in absent))
    by_syntax = sum(reason not in passed_over for reason in reasons.values())
    if by_syntax:
        whole = counts(symbols["precise_files"] + by_syntax, "file")
        yield f"symbols: {by_syntax:,} of {whole} by syntax only; `indexctl status --losses` lists them"
    yield from (f"symbols: {note}" for note in _ages(symbols, beyond=_MUCH))
    if gone:
        yield f"symbols: the index describes {counts(gone, 'file')} that the snapshot does not have"
    if rejected := described["cst"]["rejected"]:
        yield f"cst: libcst rejected {counts(rejected, 'file')}; `indexctl status --losses` lists them"


def _ages(symbols: Mapping[str, Any], *, beyond: float = 0.0) -> Iterator[str]:
    """Which indexes were kept though a larger share of files than `beyond` has changed since they were made."""
    for one in symbols["indexers"]:
        if one["moved"] > beyond * one["files"] and one["status"] == "indexed":
            known = f"{one['language']}: {counts(one['moved'], 'file')} of {one['files']:,} changed since symbols were indexed"
            yield f"{known}; `indexctl build --refresh-scip` does it again"


def _problems(symbols: Mapping[str, Any]) -> Iterator[str]:
    """What each indexer that did not run, or failed, is to be said of."""
    for one in symbols["indexers"]:
        if one["status"] == "failed":
            known = f"{one['tool']} failed for {one['language']}: {printable(one['problem'])}; its symbols are by syntax"
            yield known + ("; `indexctl build --refresh-scip` tries again" if one["moved"] else "")
        elif one["status"] == "absent":
            yield f"{one['language']}: {printable(one['problem'])}; its symbols are by syntax"
        elif one["status"] == "off":
            yield "indexers are off: all symbols are by syntax"
