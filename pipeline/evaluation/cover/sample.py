"""Which definitions are asked for: an even sample of the whole tree, the same every time, and most of it also of the next version.

Each folder is a stratum, each language in it one of its own; of n definitions it gives about c·√n, so that a large folder has
more and a small one is not drowned. Inside of a stratum the smallest hashes are taken.

Belongs here: choosing. Not here: what they are asked by (`wording`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.cover.structure import Numbers, Structure


def sample(structure: Structure, wanted: int) -> Numbers:
    """The rows of `wanted` definitions, ascending; of all where there are not more, or `wanted` is 0."""
    found = structure.definitions
    if not wanted or len(found) <= wanted:
        return np.arange(len(found))
    strata = _strata(structure)[found.files]
    # One short hash a definition: no column operation does it, and it is less than reading the names took.
    hashes = _hashes([structure.files.uris[number] for number in found.files.tolist()], found.qualified)
    order = np.lexsort((hashes, strata))
    strata_in_order = strata[order]
    place = np.arange(len(order)) - strata_in_order.searchsorted(strata_in_order)
    sizes = np.bincount(strata)[strata_in_order]
    # The i-th of n comes at i / √n: cut anywhere, a stratum has given so many as √n of the cut.
    turn = (place + 0.5) / np.sqrt(sizes)
    chosen = order[np.lexsort((hashes[order], turn))[:wanted]]
    return np.asarray(np.sort(chosen), np.int64)


def _strata(structure: Structure) -> Numbers:
    """The number of each file's stratum."""
    keys = [
        (uri.rpartition("/")[0], lang) for uri, lang in zip(structure.files.uris, structure.files.langs, strict=True)
    ]
    number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([number_of[key] for key in keys], np.int64)


def _hashes(uris: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Of each definition's place and name. Several of one name in one file are told apart by their order."""
    seen: dict[tuple[str, str], int] = {}
    raw = bytearray()
    for key in zip(uris, names, strict=True):
        seen[key] = turn = seen.get(key, 0) + 1
        raw += hashlib.blake2b(f"{key[0]}\0{key[1]}\0{turn}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.frombuffer(bytes(raw), "<u8").astype(np.uint64)
