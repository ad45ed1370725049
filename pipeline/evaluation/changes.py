"""What differs between two versions, as their manifests say it, in words.

Belongs here: reading two manifests side by side. Not here: what the difference did to quality (`comparison`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.store.versions import ManifestDocument

_SHORT = 12
"""Digits of a digest that are shown."""
_COUNTS = ("indexed_files", "definitions", "chunks")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs: `what` is embedder, index, operating point, setting, tool, code, count or commit."""

    what: str
    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}{f' {self.name}' if self.name else ''}: {self.before} -> {self.after}"


def changes(before: ManifestDocument, after: ManifestDocument) -> tuple[Change, ...]:
    """All that differs, what changes answers most first, what was indexed last."""
    return (
        *_one("embedder", _embedder(before), _embedder(after)),
        *_one("index", _index(before), _index(after)),
        *_one("operating point", _point(before), _point(after)),
        *changed_settings(before.settings, after.settings),
        *_named("tool", before.tools, after.tools),
        *_named("code", _codes(before), _codes(after)),
        *_named("count", _counted(before), _counted(after)),
        *_one("commit", _commit(before), _commit(after)),
    )


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """The settings that differ, by name. One that only one version knows is `none` in the other."""
    return tuple(_named("setting", before, after))


def _named(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        if _plain(before.get(name)) != _plain(after.get(name)):
            yield Change(what, name, _shown(before.get(name)), _shown(after.get(name)))


def _plain(value: Any) -> Any:
    """As JSON has it, where settings that were not written yet have tuples."""
    return list(value) if isinstance(value, tuple) else value


def _one(what: str, before: str, after: str) -> Iterator[Change]:
    if before != after:
        yield Change(what, "", before, after)


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case "":
            return "empty"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(str, value)) or "empty"
    return str(value)


def _embedder(manifest: ManifestDocument) -> str:
    made = manifest.embedder
    return f"{made.get('name')} ({str(made.get('digest'))[:_SHORT]})"


def _index(manifest: ManifestDocument) -> str:
    return f"{manifest.faiss.get('family')} ({manifest.faiss.get('factory')})"


def _point(manifest: ManifestDocument) -> str:
    point = manifest.operating_point
    if point.get("exact"):
        return "exact"
    words = [point.get("parameters"), f"k-factor {point.get('k_factor'):g}", "locked" if point.get("locked") else ""]
    return ", ".join(str(word) for word in words if word)


def _codes(manifest: ManifestDocument) -> dict[str, str]:
    """The versions of the stages' code. Assets of one stage have one, and are named each."""
    return {asset: artefact.code_version for asset, artefact in manifest.artefacts.items()}


def _counted(manifest: ManifestDocument) -> dict[str, int]:
    return {name.replace("_", " "): manifest.counts[name] for name in _COUNTS if name in manifest.counts}


def _commit(manifest: ManifestDocument) -> str:
    if manifest.commit is None:
        return "none"
    return manifest.commit[:_SHORT] + (" and uncommitted changes" if manifest.dirty else "")
