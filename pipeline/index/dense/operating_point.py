"""The operating point: how hard a search tries. What an index says of itself, what settings change, what a call overrides.

Belongs here: the shape of a point, its text form, its bounds. Not here: choosing a good one (tuning).
"""

from __future__ import annotations

import math
import re

import msgspec

from pipeline.config import SearchSettings
from pipeline.errors import ConfigError, QueryError
from pipeline.index.dense.families import Family

TUNED_K = 10
"""A point is what it takes to find the first ten; a search for more of them goes further by itself."""
MOST_EF_SEARCH = 1 << 16
MOST_K_FACTOR = 1000.0
_NPROBE_SHARE, _LEAST_NPROBE, _EF_SEARCH = 16, 8, 64
_NUMBER = re.compile(r"[0-9]{1,9}")


class OperatingPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one search sets. A parameter that the family does not take is None."""

    nprobe: int | None = None
    """Inverted lists visited."""
    ef_search: int | None = None
    """Candidates kept while walking the graph."""
    k_factor: float = 1.0
    """Candidates re-ranked on true vectors for each one asked."""

    @property
    def parameters(self) -> str:
        """As FAISS writes it, without the k_factor: `nprobe=16`."""
        named = (("nprobe", self.nprobe), ("efSearch", self.ef_search))
        return ",".join(f"{name}={value}" for name, value in named if value is not None)


def first_point(family: Family, nlist: int) -> OperatingPoint:
    """What a fresh index of a family starts from, before anything is tuned."""
    return OperatingPoint(
        nprobe=min(nlist, max(_LEAST_NPROBE, nlist // _NPROBE_SHARE)) if family.parameter == "nprobe" else None,
        ef_search=_EF_SEARCH if family.parameter == "efSearch" else None,
        k_factor=family.k_factor,
    )


def parse(text: str, k_factor: float | None, *, family: Family, nlist: int, default: OperatingPoint) -> OperatingPoint:
    """`default` with what `text` (`nprobe=64` or `efSearch=32`; may be empty) and `k_factor` (None: as it is) change.

    Raises `QueryError` for an unknown name, what is no whole number, what is out of range, a name given twice, and a parameter
    that the family does not take.
    """
    given: dict[str, int] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        if name not in ("nprobe", "efSearch"):
            raise QueryError(f"There is no search parameter `{name}`.", hint="Use nprobe or efSearch.")
        if not _NUMBER.fullmatch(value):
            raise QueryError(f"`{name}` = `{value}` is not a whole number.", hint=f"Write for example `{name}=64`.")
        if name in given:
            raise QueryError(f"`{name}` is given twice.")
        if name != family.parameter:
            takes = f"only `{family.parameter}`" if family.parameter else "no parameter"
            raise QueryError(f"The index is of the family `{family.name}`, which takes {takes}, not `{name}`.")
        given[name] = int(value)
    point = OperatingPoint(
        nprobe=given.get("nprobe", default.nprobe),
        ef_search=given.get("efSearch", default.ef_search),
        k_factor=default.k_factor if k_factor is None else k_factor,
    )
    check(point, family=family, nlist=nlist)
    return point


def check(point: OperatingPoint, *, family: Family, nlist: int) -> None:
    """Raise `QueryError` unless the family can be searched at this point."""
    for name, value, most in (("nprobe", point.nprobe, nlist), ("efSearch", point.ef_search, MOST_EF_SEARCH)):
        if (value is not None) != (name == family.parameter):
            raise QueryError(f"The index is of the family `{family.name}`: `{name}` = {value} does not suit it.")
        if value is not None and not 1 <= value <= most:
            raise QueryError(f"`{name}` = {value} is out of range.", hint=f"Use 1 to {most}.")
    if not 1 <= point.k_factor <= MOST_K_FACTOR:
        raise QueryError(f"The k-factor {point.k_factor} is out of range.", hint=f"Use 1 to {MOST_K_FACTOR:g}.")


def under_settings(point: OperatingPoint, settings: SearchSettings, *, family: Family, nlist: int) -> OperatingPoint:
    """`point` with what the settings put in its place; settings of other families are ignored, too large ones cut.

    Raises `ConfigError` for a `refine_k_factor` between 0 and 1.
    """
    if 0 < settings.refine_k_factor < 1:
        raise ConfigError(f"`refine_k_factor` = {settings.refine_k_factor:g} is below 1.", hint="Use 1 or more, or 0.")
    nprobe, ef_search = point.nprobe, point.ef_search
    if family.parameter == "nprobe" and settings.default_nprobe:
        nprobe = min(settings.default_nprobe, nlist)
    if family.parameter == "efSearch" and settings.hnsw_efSearch:
        ef_search = settings.hnsw_efSearch
    return OperatingPoint(nprobe=nprobe, ef_search=ef_search, k_factor=settings.refine_k_factor or point.k_factor)


def thorough(point: OperatingPoint, nlist: int) -> OperatingPoint:
    """A point that finds nearly everything, for checks that ask whether an answer is right and not how fast it is."""
    return OperatingPoint(
        nprobe=None if point.nprobe is None else min(nlist, 4 * point.nprobe),
        ef_search=None if point.ef_search is None else max(1024, point.ef_search),
        k_factor=max(64.0, point.k_factor),
    )


def depth_of(k: int, point: OperatingPoint) -> int:
    """How many candidates a search for k asks the index for."""
    return math.ceil(k * point.k_factor)
