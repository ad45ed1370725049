"""FAISS families: the table of index shapes that can be built, which one is chosen, and the guarded import of FAISS itself.

A family is a row: its factory string, who keeps the ids, how it deletes, what a search may set and how deep it re-ranks.
`idmap2` families are wrapped in an IndexIDMap2; `native` ones store ids in their inverted lists, because IndexIDMap2 over an
inverted file corrupts ids when vectors are removed or merged.

Belongs here: what depends on the family alone. Not here: building (`building`), reading and searching (`vectors`).
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal

import msgspec

from pipeline.config import IndexSettings
from pipeline.errors import ConfigError

Mapped = Literal["idmap2", "native"]
Deletes = Literal["remove", "tombstone"]
Parameter = Literal["", "nprobe", "efSearch"]
Maps = Literal["", "lists", "codes"]

POINTS_PER_CENTROID = 39
"""FAISS warns below so many training points a centroid."""


@dataclass(frozen=True, slots=True)
class Family:
    """One shape of index. n is a number of vectors, d their dimension."""

    name: str
    mapping: Mapped
    factory: Callable[[int, int, IndexSettings], str]
    """(d, n, options) -> FAISS's factory string."""
    bytes_per_vector: Callable[[int, IndexSettings], float]
    """(d, options) -> about how much memory a vector takes."""
    k_factor: float = 1.0
    """How many candidates are re-ranked for each one asked."""
    trains: bool = False
    least_training: Callable[[int, IndexSettings], int] = lambda n, options: 0
    """(n, options) -> the fewest vectors that it can be trained on well; a smaller corpus is searched exactly."""
    exact: bool = False
    """Whether it scores all vectors, and truly."""
    true_scores: bool = False
    """Whether what it scores gets the score of the true vector, bit by bit, so that there is nothing to re-rank."""
    deletes: Deletes = "remove"
    """Whether a vector can be taken out, or only be passed over until the next rebuild."""
    parameter: Parameter = ""
    """What a search may set."""
    gpu: bool = False
    """Whether FAISS can clone it to a GPU."""
    maps: Maps = ""
    """What FAISS can leave in the file and map into memory: lists, the codes of all vectors, or nothing."""


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `auto` takes for a corpus of fewer than `below` vectors (None: any) under a workload."""

    workload: str
    below: int | None
    families: tuple[str, ...]
    """The cheapest first; each of the others is there because it takes less memory than those before it."""


class _Presets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    measured_with: dict[str, Any]
    presets: tuple[Preset, ...]


PRESETS_FILE = Path(__file__).with_name("presets.json")
"""Written by `benchmarks/vector_presets.py` from what was measured."""
PRESETS_VERSION = 1


@functools.cache
def presets() -> tuple[Preset, ...]:
    """The presets of `auto`; the first one that fits is taken."""
    return msgspec.json.decode(PRESETS_FILE.read_bytes(), type=_Presets).presets


def nlist_of(n: int, options: IndexSettings) -> int:
    """How many inverted lists n vectors are cut into: 4√n, and no more than can be trained on them."""
    return options.nlist or max(1, min(round(4 * math.sqrt(n)), n // POINTS_PER_CENTROID))


def pq_m_of(d: int, options: IndexSettings) -> int:
    """How many sub-quantisers code a vector: about one for four dimensions. Raises `ConfigError` where d is no multiple."""
    if options.pq_m:
        return _divides("pq_m", options.pq_m, d)
    return max(m for m in range(1, max(1, d // 4) + 1) if d % m == 0)


def _divides(name: str, value: int, d: int) -> int:
    if d % value:
        raise ConfigError(f"`{name}` = {value} does not divide the dimension {d}.", hint="Use a divisor, or 0.")
    return value


def _ivf(code: Callable[[int, IndexSettings], str]) -> Callable[[int, int, IndexSettings], str]:
    return lambda d, n, options: f"IVF{nlist_of(n, options)},{code(d, options)}"


def _rotated_pq(d: int, n: int, options: IndexSettings) -> str:
    rotation = f"OPQ{_divides('opq_m', options.opq_m, d)}," if options.opq_m else ""
    return f"{rotation}IVF{nlist_of(n, options)},PQ{pq_m_of(d, options)}x{options.pq_nbits}"


def _ivf_least(n: int, options: IndexSettings) -> int:
    return POINTS_PER_CENTROID * nlist_of(n, options)


def _pq_least(n: int, options: IndexSettings) -> int:
    # A rotation is learned with codes of 8 bits, whatever the codes that follow it have.
    return max(_ivf_least(n, options), POINTS_PER_CENTROID << max(options.pq_nbits, 8 if options.opq_m else 0))


def _pq_bytes(d: int, options: IndexSettings) -> float:
    return pq_m_of(d, options) * options.pq_nbits / 8 + 8


_PQ = Family(
    name="ivf_pq",
    mapping="native",
    factory=_rotated_pq,
    bytes_per_vector=_pq_bytes,
    trains=True,
    least_training=_pq_least,
    parameter="nprobe",
    gpu=True,
    maps="lists",
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family(
                name="flat",
                mapping="idmap2",
                true_scores=True,
                factory=lambda d, n, options: "IDMap2,Flat",
                bytes_per_vector=lambda d, options: 4 * d + 8,
                exact=True,
                gpu=True,
                maps="codes",
            ),
            Family(
                name="sq8",
                mapping="idmap2",
                factory=lambda d, n, options: "IDMap2,SQ8",
                bytes_per_vector=lambda d, options: d + 8,
                k_factor=2.0,
                trains=True,
                least_training=lambda n, options: 1,
                maps="codes",
            ),
            Family(
                name="ivf_flat",
                mapping="native",
                true_scores=True,
                factory=_ivf(lambda d, options: "Flat"),
                bytes_per_vector=lambda d, options: 4 * d + 8,
                trains=True,
                least_training=_ivf_least,
                parameter="nprobe",
                gpu=True,
                maps="lists",
            ),
            Family(
                name="ivf_sq8",
                mapping="native",
                factory=_ivf(lambda d, options: "SQ8"),
                bytes_per_vector=lambda d, options: d + 8,
                k_factor=2.0,
                trains=True,
                least_training=_ivf_least,
                parameter="nprobe",
                gpu=True,
                maps="lists",
            ),
            _PQ,
            Family(
                name="ivf_pq_refine",
                mapping="native",
                factory=_rotated_pq,
                bytes_per_vector=_pq_bytes,
                k_factor=4.0,
                trains=True,
                least_training=_pq_least,
                parameter="nprobe",
                gpu=True,
                maps="lists",
            ),
            Family(
                name="ivf_pqfs",
                mapping="native",
                factory=_ivf(lambda d, options: f"PQ{pq_m_of(d, options)}x4fs"),
                bytes_per_vector=lambda d, options: pq_m_of(d, options) / 2 + 8,
                k_factor=8.0,
                trains=True,
                least_training=lambda n, options: max(_ivf_least(n, options), POINTS_PER_CENTROID << 4),
                parameter="nprobe",
            ),
            Family(
                name="ivf_rabitq",
                mapping="native",
                factory=_ivf(lambda d, options: "RaBitQ"),
                bytes_per_vector=lambda d, options: d / 8 + 16,
                k_factor=10.0,
                trains=True,
                least_training=_ivf_least,
                parameter="nprobe",
                maps="lists",
            ),
            Family(
                name="hnsw",
                mapping="idmap2",
                true_scores=True,
                factory=lambda d, n, options: f"IDMap2,HNSW{options.hnsw_M}",
                bytes_per_vector=lambda d, options: 4 * d + 8 * options.hnsw_M + 16,
                deletes="tombstone",
                parameter="efSearch",
                maps="codes",
            ),
            Family(
                name="hnsw_sq8",
                mapping="idmap2",
                factory=lambda d, n, options: f"IDMap2,HNSW{options.hnsw_M}_SQ8",
                bytes_per_vector=lambda d, options: d + 8 * options.hnsw_M + 16,
                k_factor=2.0,
                trains=True,
                least_training=lambda n, options: 1,
                deletes="tombstone",
                parameter="efSearch",
                maps="codes",
            ),
        )
    }
)


def choose(settings: IndexSettings, n: int, d: int) -> Family:
    """The family for n vectors of dimension d: the one that is set, or what the presets say, or exact search over few.

    A corpus that is too small to train a family on is searched exactly, also where the family is set.
    """
    name = settings.faiss_family if settings.faiss_family != "auto" else _preset(settings, n, d)
    if name not in FAMILIES:
        raise ConfigError(f"There is no FAISS family `{name}`.", hint=f"Use auto, {', '.join(FAMILIES)}.")
    family = FAMILIES[name]
    family.factory(d, max(n, 1), settings)  # Settings that do not fit each other are refused at any size.
    return family if n >= family.least_training(n, settings) else FAMILIES["flat"]


def may_be_tuned(settings: IndexSettings, n: int) -> bool:
    """Whether an index of n vectors, of whatever dimension, may be one that is not exact, and so is tuned."""
    fitting = _fitting(settings, n)
    # The others are for those who are short of memory.
    fitting = fitting if settings.faiss_memory_mb else fitting[:1]
    names = fitting if settings.faiss_family == "auto" else (settings.faiss_family,)
    found = [FAMILIES[name] for name in names if name in FAMILIES]
    return any(not family.exact and n >= family.least_training(n, settings) for family in found)


def _preset(settings: IndexSettings, n: int, d: int) -> str:
    names = _fitting(settings, n)
    budget = settings.faiss_memory_mb * 2**20
    fitting = (one for one in names if not budget or n * FAMILIES[one].bytes_per_vector(d, settings) <= budget)
    return next(fitting, names[-1])


def _fitting(settings: IndexSettings, n: int) -> tuple[str, ...]:
    """What `auto` chooses from for n vectors."""
    return next(
        preset.families
        for preset in presets()
        if preset.workload == settings.faiss_workload and (preset.below is None or n < preset.below)
    )


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
