"""Files as queries see them: the half that each is in, whether people look for what it defines, and the folder it counts for.

Belongs here: what follows from a file's path. Not here: what is in it (`corpus`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.queries import TEST, TUNE
from pipeline.index.chunk_files import ROLES
from pipeline.index.file_roles import roles_of

_ASIDE = ("test", "docs", "example", "superseded", "vendored", "generated", "stub")
"""Roles of files that are answers at most beside others."""
_LAYOUTS = frozenset("cjs esm umd mjs lib libs dist es src build out types typings package".split())
"""Folders that hold the same modules in another form."""
_ENDINGS = re.compile(r"(\.(d|min|prod|development|production))?\.[^./]+$")
_DEEPEST = 8
_LARGEST = 1 / 16
"""The share of all definitions that one module prefix may have before its folders count for themselves."""


@dataclass(frozen=True)
class FileColumns:
    """Files [n]: uri, language, half, roles and definitions."""

    uris: list[str]
    languages: list[str]
    twins: NDArray[np.int64]
    """Equal numbers for the forms of one module, such as `a.js`, `a.cjs` and `a.d.ts`."""
    is_test_half: NDArray[np.bool_]
    tests: NDArray[np.bool_]
    """Which hold tests."""
    main: NDArray[np.bool_]
    """In which people look for code."""
    counts: NDArray[np.int64]

    def split(self, file: int) -> str:
        """The half of a file."""
        return TEST if self.is_test_half[file] else TUNE

    @cached_property
    def strata(self) -> NDArray[np.int64]:
        """int64 [n]: equal for files of one language and one module prefix."""
        prefixes = module_prefixes(self.uris, self.counts)
        keys = [f"{lang}\0{prefix}" for lang, prefix in zip(self.languages, prefixes, strict=True)]
        return np.unique(np.array(keys, np.str_), return_inverse=True)[1].astype(np.int64) if keys else np.zeros(0, np.int64)


def files_of(uris: list[str], languages: list[str], counts: NDArray[np.int64]) -> FileColumns:
    """From uris [n], their languages and how many functions and types each defines."""
    defining = {uri for uri, count in zip(uris, counts.tolist(), strict=True) if count}
    roles = np.array(roles_of(list(zip(uris, languages, strict=True)), defining), np.int64)
    aside = sum(1 << ROLES.index(role) for role in _ASIDE)
    main = (roles & aside) == 0
    if not (counts[main] > 0).any():
        # A repository of tests, or of documents: then those are what people look for.
        main = np.ones(len(uris), np.bool_)
    modules = [_module_of(uri) for uri in uris]
    numbers = {module: number for number, module in enumerate(dict.fromkeys(modules))}
    twins = np.array([numbers[module] for module in modules], np.int64)
    hashes = [
        int.from_bytes(blake2b(module.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") for module in modules
    ]
    asked = [place for place in range(len(uris)) if main[place] and counts[place]]
    # The least is always of the test half: the smallest repository has one.
    least = min((hashes[place] for place in asked), default=-1)
    is_test_half = np.array([value < 1 << 63 or value == least for value in hashes], np.bool_)
    tests = (roles & (1 << ROLES.index("test"))) != 0
    return FileColumns(uris, languages, twins, is_test_half, tests, main, counts.astype(np.int64))


def _module_of(uri: str) -> str:
    *folders, name = uri.split("/")
    return "/".join([folder for folder in folders if folder not in _LAYOUTS] + [_ENDINGS.sub("", name)])


def module_prefixes(uris: Sequence[str], counts: NDArray[np.int64]) -> list[str]:
    """The folder that each file counts for: as high in the tree as no folder has more than a sixteenth of all definitions."""
    most = max(1.0, float(counts.sum()) * _LARGEST)
    parts = [uri.split("/")[:-1] for uri in uris]
    found = [""] * len(uris)
    open_ones = list(range(len(uris)))
    for depth in range(1, _DEEPEST + 1):
        sums: dict[str, int] = {}
        for place in open_ones:
            found[place] = "/".join(parts[place][:depth])
            sums[found[place]] = sums.get(found[place], 0) + int(counts[place])
        open_ones = [place for place in open_ones if sums[found[place]] > most and len(parts[place]) > depth]
    return found
