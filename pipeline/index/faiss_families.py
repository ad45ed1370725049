"""FAISS families: the table of index shapes that can be built, and the guarded import of FAISS itself.

A family is a row: its factory string, who keeps the ids, whether it can delete, and what a search may set. `idmap2` families
are wrapped in an IndexIDMap2; `native` ones store ids in their inverted lists, because IndexIDMap2 over an inverted file
corrupts ids when vectors are removed or merged.

Belongs here: what depends on the family alone. Not here: building (`faiss_stage`), reading and searching (`vectors`).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType, ModuleType
from typing import Literal

from pipeline.errors import ConfigError

Mapped = Literal["idmap2", "native"]


@dataclass(frozen=True, slots=True)
class Family:
    """One shape of index. `factory(d, n)` gives FAISS's factory string for n vectors of dimension d."""

    name: str
    factory: Callable[[int, int], str]
    mapping: Mapped
    deletes: bool
    """Whether vectors can be removed in place."""
    parameters: tuple[str, ...]
    """Names of what a search may set, such as `nprobe`."""


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (Family(name="flat", factory=lambda d, n: "IDMap2,Flat", mapping="idmap2", deletes=True, parameters=()),)
    }
)


def choose(name: str, n: int) -> Family:
    """The family of a setting for n vectors; `auto` picks by size. Raises `ConfigError` for a family that does not exist."""
    if name == "auto":
        # Exact search over everything is the fastest choice at small sizes, and the only family so far.
        return FAMILIES["flat"]
    if name not in FAMILIES:
        raise ConfigError(f"There is no FAISS family `{name}`.", hint=f"Use auto, {', '.join(FAMILIES)}.")
    return FAMILIES[name]


@functools.cache
def import_faiss() -> ModuleType:
    """The module `faiss`. Raises `ConfigError` when it is missing, or when two distributions that own it are installed."""
    if all(_installed(name) for name in ("faiss-cpu", "faiss-gpu")):
        raise ConfigError(
            "Both faiss-cpu and faiss-gpu are installed, and each overwrites files of the other.",
            hint="Make a fresh environment with exactly one of the extras `cpu` and `gpu`.",
        )
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ConfigError(
            f"FAISS cannot be imported: {error}.", hint='Install the extra `cpu`: pip install "codeintel-pipeline[cpu]".'
        ) from error


def _installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
