"""The configuration that scip-typescript gets: one of ours that names every file, instead of those of the repository.

Those of a repository extend packages that are not installed here, leave tests out, and may reach outside of the repository;
one of them with a mistake ends the whole run. What resolution needs of them is taken over: path mappings, and the names of the
repository's own packages.

Belongs here: `tsconfig.json` and `package.json`. Not here: running the program (`indexers`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

CONFIGURATION = "tsconfig.json"
_INPUT = re.compile(r"(?:.*/)?(?:[tj]sconfig[^/]*|package)\.json")
_PACKAGE_KEYS = ("name", "type", "main", "module", "types", "typings", "exports", "imports")
"""What resolution reads. The version is not among them: it would change every symbol at every release."""
MAX_MAPPINGS = 2000
_OPTIONS = {
    "allowImportingTsExtensions": True,
    "allowJs": True,
    "experimentalDecorators": True,
    "jsx": "preserve",
    "module": "esnext",
    "moduleResolution": "bundler",
    "noEmit": True,
    "resolveJsonModule": True,
    "skipLibCheck": True,
    "target": "esnext",
    # Nothing that lies in a folder above the copy.
    "typeRoots": [],
    "types": [],
}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\r\n]*|/\*.*?\*/|,(?=(?:\s|//[^\r\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)


def is_configuration(uri: str) -> bool:
    """Whether a file is one that resolution reads."""
    return _INPUT.fullmatch(uri) is not None


def configured(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a project as scip-typescript gets them: code as it is, and configuration as far as it is needed."""
    given = {uri: _as_counted(content) for uri, content in sources.items() if not is_configuration(uri)}
    packages: dict[str, bytes] = {}
    for uri in sorted(sources):
        if uri.rpartition("/")[2] == "package.json":
            kept = {key: value for key, value in _object(sources[uri]).items() if key in _PACKAGE_KEYS}
            packages[uri] = msgspec.json.encode(kept, order="sorted")
    options = _OPTIONS | {"paths": mappings(sources)}
    configuration = {"compilerOptions": options, "files": [f"./{uri}" for uri in sorted(given)]}
    return {CONFIGURATION: msgspec.json.encode(configuration), **packages, **given}


def _as_counted(content: bytes) -> bytes:
    """The same number of columns on the same lines, as TypeScript counts and as SCIP does.

    TypeScript gives a byte order mark no column and breaks lines where JavaScript does and files do not.
    """
    for mark in ("\u2028", "\u2029"):
        content = content.replace(mark.encode(), b" ")
    return b" " + content[3:] if content.startswith(b"\xef\xbb\xbf") else content


def mappings(sources: Mapping[str, bytes]) -> dict[str, list[str]]:
    """What is imported by name instead of a relative path -> where to look, from the root; of all configurations."""
    found: dict[str, list[str]] = {}

    def add(pattern: Any, folder: str, targets: Iterable[Any]) -> None:
        if not isinstance(pattern, str) or not pattern or pattern.count("*") > 1:
            return
        for target in targets:
            if not isinstance(target, str) or target.count("*") > 1 or target.startswith("/"):
                continue
            place = posixpath.normpath(posixpath.join(folder, target))
            if place != ".." and not place.startswith("../") and len(found) < MAX_MAPPINGS:
                places = found.setdefault(pattern, [])
                if f"./{place}" not in places:
                    places.append(f"./{place}")

    for uri in sorted(sources, key=lambda uri: (uri.count("/"), uri)):
        folder, _, name = uri.rpartition("/")
        if not is_configuration(uri):
            continue
        told = _object(sources[uri])
        if name == "package.json":
            package = told.get("name")
            if isinstance(package, str) and package and "*" not in package:
                add(package, folder, ("src/index", "index"))
                add(f"{package}/*", folder, ("src/*", "*"))
            continue
        options = told.get("compilerOptions")
        options = options if isinstance(options, dict) else {}
        base = options.get("baseUrl")
        paths = options.get("paths")
        start = posixpath.join(folder, base) if isinstance(base, str) and not base.startswith("/") else folder
        for pattern, targets in paths.items() if isinstance(paths, dict) else ():
            add(pattern, start, targets if isinstance(targets, list) else ())
        if isinstance(base, str):
            add("*", start, ("*",))
    return found


def _object(content: bytes) -> dict[str, Any]:
    """The object of a JSON file with comments and trailing commas; empty for what is none."""
    text = content.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        value = msgspec.json.decode(_TOKEN.sub(lambda match: match[0] if match[0].startswith('"') else " ", text))
    except (msgspec.MsgspecError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
