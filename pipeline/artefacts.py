"""Artefacts: what stages are given, and what they make.

Belongs here: the types in the signatures of stages. Not here: what a stage is (`stage`), where artefacts lie (`store`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    # Loads pyarrow, which a search does without.
    from pipeline.schemas import Kind

K = TypeVar("K", bound="Kind", covariant=True)
Facts = Mapping[str, Any]
"""What a stage says about its result: JSON values, and only such as are a function of its key (counts, never times;
those go to `Runtime.observe`)."""

NO_BASE = ""
"""Instead of a key: the result is made from its inputs alone."""


@dataclass(frozen=True, slots=True)
class Artefact(Generic[K]):
    """A settled result: where it lies and what it is."""

    repo: str
    asset: str
    key: str
    path: Path
    """The object's directory; file and table names in it are those of `schemas`."""
    schema: str
    digest: str
    lineage: Mapping[str, str]
    """Asset -> key of everything that this was made from, itself included."""
    facts: Facts = field(default_factory=dict)
    reused: bool = False
    method: str = ""
    """How it was made: what its key is made of, without what it was made from. Two results of one method can be compared
    part by part and file by file."""
    digests: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Relative POSIX path -> digest of each of its files."""


@dataclass(frozen=True, slots=True)
class Output(Generic[K]):
    """An empty directory that a stage writes its result of kind K into."""

    path: Path


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a stage settled on before, by the same method, and what it was made from: both by asset.

    A shortcut for stages whose result is a function of their inputs: what did not change is linked or copied from here. It
    never changes the result, and is in no key.
    """

    outputs: Mapping[str, Artefact[Any]]
    inputs: Mapping[str, Artefact[Any]]


@dataclass(frozen=True, slots=True)
class Base(Generic[K]):
    """An earlier result of the same asset that the new one is built on, and what that was made from, by asset.

    Unlike `Earlier` it is an input: another base may give another result, so its key is in the key. None: a full build.
    """

    artefact: Artefact[K] | None = None
    inputs: Mapping[str, Artefact[Any]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Of the earlier result, or `NO_BASE`."""
        return NO_BASE if self.artefact is None else self.artefact.key
