"""What part a file plays beside the code that people look for: tests, documents, examples, what was replaced.

Tags by path are those of `modules`; the table itself is not read, because it also counts commits, and an index of words would
be built again with every one. The names of folders here are general words of the trade.

Belongs here: roles by path and language. Not here: what a role costs in a ranking (`search.adjustments`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

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


def roles_of(files: Sequence[tuple[str, str]], defining: Set[str]) -> list[int]:
    """The roles of each (uri, language) of a repository, as bits in the order of `ROLES`.

    `defining` are the uris of files in which some function or type is defined.
    """
    bits = {role: 1 << place for place, role in enumerate(ROLES)}
    replaced = _replaced_folders([uri for uri, _ in files])
    found = []
    for uri, lang in files:
        roles = _by_name(uri, lang)
        if replaced and any(uri[: match.end() - 1] in replaced for match in re.finditer("[^/]+/", uri)):
            roles.add("superseded")
        if uri not in defining and _is_entry(uri) and lang not in _PROSE:
            roles.add("reexport")
        found.append(sum(bits[role] for role in roles))
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


def _replaced_folders(uris: Sequence[str]) -> set[str]:
    """Folders `v<N>` of an older version: a sibling has a higher number, or the folder above holds most of the same files."""
    versions: dict[str, dict[int, str]] = defaultdict(dict)
    names: dict[str, set[str]] = defaultdict(set)
    for uri in uris:
        parts = uri.split("/")
        names["/".join(parts[:-1])].add(parts[-1])
        for place, part in enumerate(parts[:-1]):
            if match := _VERSION_FOLDER.fullmatch(part):
                versions["/".join(parts[:place])][int(match[1])] = "/".join(parts[: place + 1])
    replaced = set()
    for above, found in versions.items():
        newest = max(found)
        replaced |= {folder for number, folder in found.items() if number < newest}
        # Every folder has an `index`: that says nothing.
        inside = {name for name in names[found[newest]] if not _is_entry(name)}
        if inside and 2 * len(inside & names[above]) > len(inside):
            replaced.add(found[newest])
    return replaced
