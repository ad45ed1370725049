"""What part a file plays beside the code that people look for: tests, documents, examples, what was replaced.

Tags by path are those of `modules`; the table itself is not read, because it also counts commits, and an index of words would
be built again with every one. The names of folders here are general words of the trade.

Belongs here: roles by path and language. Not here: what a role costs in a ranking (`search.adjustments`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from pipeline.index.chunk_files import ROLES
from pipeline.source.selection import VENDOR_FOLDERS
from pipeline.structure.modules.facts import path_tags

_FOLDERS: Mapping[str, str] = {
    name: role
    for role, names in {
        "test": "testdata fixtures __mocks__ __snapshots__",
        "example": "example examples sample samples demo demos tutorial tutorials cookbook bench benchmark benchmarks",
        "superseded": "deprecated legacy obsolete attic",
        "private": "experimental",
    }.items()
    for name in names.split()
}
_PROSE = frozenset({"markdown", "text"})
_STUB_ENDINGS = (".pyi", ".d.ts", ".d.mts", ".d.cts")
_ENTRIES = frozenset({"__init__", "index", "mod"})
"""Names of files that stand for their folder."""
_VERSION_FOLDER = re.compile(r"v(\d{1,3})")
_BITS: Mapping[str, int] = {role: 1 << place for place, role in enumerate(ROLES)}


def roles_of(files: Sequence[tuple[str, str]], defining: Set[str]) -> list[int]:
    """The roles of each (uri, language) of a repository, as bits in the order of `ROLES`.

    `defining` are the uris of files in which some function or type is defined.
    """
    alone = [roles_alone(uri, lang, defines=uri in defining) for uri, lang in files]
    roles: list[int] = with_replaced([uri for uri, _ in files], np.array(alone, np.uint16)).tolist()
    return roles


def roles_alone(uri: str, lang: str, *, defines: bool) -> int:
    """Those roles of a file that do not depend on other files, as bits; `defines`: some function or type."""
    roles = _by_name(uri, lang)
    if not defines and _is_entry(uri) and lang not in _PROSE:
        roles.add("reexport")
    return sum(_BITS[role] for role in roles)


def with_replaced(uris: Sequence[str], roles: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The roles uint16 [m] of all files of a repository: what each has alone, and those that others replace are superseded."""
    found = roles.copy()
    # A look at every file of a large repository takes longer than all else that a small change costs: few lie in such folders.
    versioned = [place for place, uri in enumerate(uris) if "/v" in uri or uri.startswith("v")]
    replaced = _replaced_folders(uris, [uris[place] for place in versioned])
    for place in versioned if replaced else ():
        uri = uris[place]
        if any(uri[: match.end() - 1] in replaced for match in re.finditer("[^/]+/", uri)):
            found[place] |= _BITS["superseded"]
    return found


def _by_name(uri: str, lang: str) -> set[str]:
    *folders, name = uri.lower().split("/")
    roles = {_FOLDERS[folder] for folder in folders if folder in _FOLDERS}
    roles |= path_tags(uri) & {"test", "docs", "generated"}
    if lang in _PROSE:
        roles.add("docs")
    if not VENDOR_FOLDERS.isdisjoint(folders):
        roles.add("vendored")
    if any(folder.startswith("_") and not folder.startswith("__") for folder in folders):
        roles.add("private")
    if name.endswith(_STUB_ENDINGS):
        roles.add("stub")
    return roles


def _is_entry(uri: str) -> bool:
    return uri.rpartition("/")[2].partition(".")[0] in _ENTRIES


def _replaced_folders(uris: Sequence[str], versioned: Iterable[str]) -> set[str]:
    """Folders `v<N>` of an older version: a sibling has a higher number, or the folder above holds most of the same files.

    `versioned` are, of all `uris`, at least those with such a folder.
    """
    versions: dict[str, dict[int, str]] = defaultdict(dict)
    for uri in versioned:
        parts = uri.split("/")
        for place, part in enumerate(parts[:-1]):
            if match := _VERSION_FOLDER.fullmatch(part):
                versions["/".join(parts[:place])][int(match[1])] = "/".join(parts[: place + 1])
    newest = {above: found[max(found)] for above, found in versions.items()}
    names = _names_in({*newest, *newest.values()}, uris) if newest else {}
    replaced = set()
    for above, found in versions.items():
        replaced |= {folder for number, folder in found.items() if number < max(found)}
        # Every folder has an `index`: that says nothing.
        inside = {name for name in names[newest[above]] if not _is_entry(name)}
        if inside and 2 * len(inside & names[above]) > len(inside):
            replaced.add(newest[above])
    return replaced


def _names_in(folders: Set[str], uris: Sequence[str]) -> dict[str, set[str]]:
    """The names of the files that lie directly in each of these folders."""
    names: dict[str, set[str]] = {folder: set() for folder in folders}
    for uri in uris:
        folder, _, name = uri.rpartition("/")
        if folder in names:
            names[folder].add(name)
    return names
