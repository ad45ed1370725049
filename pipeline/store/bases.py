"""On which earlier result a stage builds that builds on one: chosen once for each set of inputs, and remembered.

A result with a base depends on history, so the base is in its key. Planning the same tree again must give the same key: hence
`bases/<asset>/<key without base>` holds the key of the base that was chosen, or nothing for a full build. Else the base is what
the asset last settled on, where that was made by the same method; or what that one says in its facts that it is still based
on (`base`), such as the index whose primary it links.

Belongs here: that choice. Not here: what is built on a base (its stage).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import files
from pipeline.artefacts import NO_BASE
from pipeline.config import Settings
from pipeline.stage import External, Stage, key_of
from pipeline.store.layout import Repository

if TYPE_CHECKING:
    # Loads pyarrow, which a search does without.
    from pipeline.schemas import Kind

BASE_FACT = "base"
_FOLDER = "bases"
_KEY = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Choice:
    """The key of a result, the key of its base, and `bare`: the key that it would have without one."""

    key: str
    bare: str
    base: str = NO_BASE
    based: bool = False
    """Whether the stage takes a base at all."""


class _Settled(msgspec.Struct, frozen=True):
    """Of `object.json`, what decides whether an object can be a base."""

    key: str
    method: str
    facts: dict[str, Any]


def choose(
    repository: Repository,
    stage: Stage,
    kind: type[Kind],
    settings: Settings,
    inputs: Mapping[str, str],
    externals: Mapping[str, External],
    method: str,
    *,
    full: bool = False,
) -> Choice:
    """The key of one output, with its base where the stage takes one; `full`: without, whatever was chosen before."""
    bare = stage.key(kind, settings, inputs, externals)
    if kind not in stage.bases.values() or not stage.based(settings):
        return Choice(bare, bare)

    def chosen(base: str) -> Choice:
        return Choice(stage.key(kind, settings, inputs, externals, base), bare, base, based=True)

    known = _remembered(repository, kind.asset, bare)
    if full or known == NO_BASE:
        return chosen(NO_BASE)
    # A base that is gone is no matter where its result is there.
    if known is not None and any(_exists(repository, kind.asset, key) for key in (known, chosen(known).key)):
        return chosen(known)
    return chosen(_last(repository, kind.asset, method))


def remember(repository: Repository, asset: str, choice: Choice) -> None:
    """Stay with a choice."""
    if choice.based and _remembered(repository, asset, choice.bare) != choice.base:
        files.write_own_file(repository.path / _FOLDER / asset / choice.bare, f"{choice.base}\n".encode())


def pointless(repository: Repository, recipes: Mapping[str, list[Mapping[str, Any]]]) -> list[Path]:
    """Choices that nobody will ask for, because no result of theirs is kept: `recipes` are of what is, by asset."""
    kept = {(asset, key_of(recipe)) for asset, known in recipes.items() for recipe in known}
    found = (repository.path / _FOLDER).glob("*/*")
    return sorted(path for path in found if (path.parent.name, path.name) not in kept)


def _remembered(repository: Repository, asset: str, bare: str) -> str | None:
    """The base that was chosen before, `NO_BASE` among them; None where none was, or where the file says nothing."""
    try:
        text = (repository.path / _FOLDER / asset / bare).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return None
    key = text.strip()
    return key if text.endswith("\n") and _KEY.issuperset(key) else None


def _exists(repository: Repository, asset: str, key: str) -> bool:
    return (repository.objects / asset / key / "object.json").is_file()


def _last(repository: Repository, asset: str, method: str) -> str:
    """What the asset last settled on, or what that is based on, if it is of this method and there."""
    try:
        key = (repository.refs / asset).read_text("ascii").strip()
        raw = (repository.objects / asset / key / "object.json").read_bytes()
        last = msgspec.json.decode(raw, type=_Settled)
    except (OSError, ValueError):
        return NO_BASE
    if last.method != method or last.key != key:
        return NO_BASE
    base = last.facts.get(BASE_FACT)
    # One that was collected is no loss: what is based on it has all of it that is still of use.
    return base if isinstance(base, str) and base and _exists(repository, asset, base) else key
