"""Which definitions are asked for: an even sample of the tree, the same every time, and mostly that of the next version, too.

Each folder is a stratum, each language in it one of its own; of n definitions it gives about c·√n, so that a large folder has
more and a small one is not drowned. Inside of a stratum the smallest hashes are taken.

Belongs here: choosing. Not here: what they are asked by (`wording`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.cover.structure import Numbers, Structure
from pipeline.evaluation.synthesis.sampling import draw, seated


def sample(structure: Structure, wanted: int) -> Numbers:
    """The rows of `wanted` definitions, ascending; of all where there are not more, or `wanted` is 0."""
    found = structure.definitions
    if not wanted or len(found) <= wanted:
        return np.arange(len(found))
    strata = _strata(structure)[found.files]
    # One short hash a definition: no column operation does it, and it is less than reading the names took.
    draws = _draws([structure.files.uris[number] for number in found.files.tolist()], found.qualified)
    return np.asarray(np.sort(seated(strata, draws)[:wanted]), np.int64)


def _strata(structure: Structure) -> Numbers:
    """The number of each file's stratum."""
    keys = [(uri.rpartition("/")[0], lang) for uri, lang in zip(structure.files.uris, structure.files.langs, strict=True)]
    number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([number_of[key] for key in keys], np.int64)


def _draws(uris: Sequence[str], names: Sequence[str]) -> list[int]:
    """A number for each definition's place and name. Several of one name in one file are told apart by their order."""
    seen: Counter[tuple[str, str]] = Counter()
    draws = []
    for uri, name in zip(uris, names, strict=True):
        seen[uri, name] += 1
        draws.append(draw(uri, name, str(seen[uri, name])))
    return draws
