"""Imports: which files or names a file imports, by its syntax nodes.

A target is the uri of the imported file where it is one of the repository's; otherwise the name as it is written. Only nodes
of import statements (and calls that import) are visited. What is executed at run time (paths put together from parts, import
hooks, path aliases of build tools) is not followed.

Belongs here: finding imports and resolving them. Not here: which nodes are imports (`rules`).
"""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pipeline.source.languages import SOURCE_ROOTS
from pipeline.structure.modules.file_nodes import FileNodes
from pipeline.structure.modules.rules import RULES, Calls, Inner

_CALL_WINDOW = 6
"""No more nodes lie between the name of an importing call and what it imports."""
_MAX_STATEMENT = 8192
_MAX_NESTING = 8
_KEYWORDS = frozenset("use pub import using extern crate mod function const".split())
_QUOTES = "\"'`"
_ECMASCRIPT = ("javascript", "typescript", "tsx")
_ECMASCRIPT_ENDINGS = tuple(".ts .tsx .d.ts .js .jsx .mjs .cjs .mts .cts .json".split())
_PYTHON_ENDINGS = (".py", "/__init__.py", ".pyi", "/__init__.pyi")
_RUST_ENDINGS = (".rs", "/mod.rs")
_RUST_ROOTS = ("lib.rs", "main.rs")
_ENDINGS = (
    *_ECMASCRIPT_ENDINGS, *_PYTHON_ENDINGS, *_RUST_ENDINGS, *_RUST_ROOTS, "__init__.py", "__init__.pyi", "mod.rs", ".rb",
    ".lua", "/init.lua",
)  # fmt: skip
"""All that a path that is looked for is tried with."""
_INCLUDE_ROOTS = ("", "include/", "src/")


class Import(NamedTuple):
    """What is imported, as written."""

    how: str
    """The call that imports, `mod` (Rust), `"` (a quoted include), or empty."""
    module: str
    name: str = ""
    """What is taken out of the module (Python); `*` for all."""


def find_imports(nodes: FileNodes, lang: str) -> list[Import]:
    """The imports of a file, in no particular order."""
    if lang == "python":
        return [item for item in _python(nodes) if item.module]
    rules = RULES[lang]
    found = [item for node in nodes.of_types(rules.whole).tolist() for item in _whole(nodes, node)]
    for inner in rules.inner:
        found += _inner(nodes, inner)
    if rules.calls is not None:
        found += _called(nodes, rules.calls)
    return [item for item in found if item.module]


def _python(nodes: FileNodes) -> Iterator[Import]:
    names = nodes.under(
        nodes.of_types(frozenset({"dotted_name"})), frozenset({"import_statement", "import_from_statement", "aliased_import"})
    )
    others = nodes.of_types(frozenset({"relative_import", "wildcard_import"}))
    ids = np.sort(np.concatenate((names, others)))
    parents = nodes.parent[ids]
    aliased, plain, wildcard = (
        nodes.numbers.get(name, -1) for name in ("aliased_import", "import_statement", "wildcard_import")
    )
    parents = np.where(nodes.kind[parents] == aliased, nodes.parent[parents], parents)
    columns = (parents, nodes.kind[parents] == plain, nodes.kind[ids] == wildcard, nodes.start[ids], nodes.end[ids])
    statement, module = -1, ""
    for parent, is_plain, is_all, start, end in zip(*(column.tolist() for column in columns), strict=True):
        raw = nodes.content[start:end].decode("utf-8", "replace")
        text = "*" if is_all else "".join(raw.replace("\\", " ").split())
        if is_plain:
            yield Import("", text)
        elif parent != statement:
            statement, module = parent, text
        else:
            yield Import("", module, text)


def _whole(nodes: FileNodes, node: int) -> list[Import]:
    """The names in a statement that is nothing but an import; groups in braces are expanded."""
    raw = nodes.raw(node)
    if len(raw) > _MAX_STATEMENT or (raw.endswith(b"}") and nodes.type(node) == "mod_item"):
        return []
    words = raw.decode("utf-8", "replace").rstrip("; \n").split()
    while words and (words[0] in _KEYWORDS or words[0].startswith("pub(")):
        words.pop(0)
    how = "mod" if nodes.type(node) == "mod_item" else ""
    return [Import(how, name) for name in expand(" ".join(words))]


def expand(text: str, nesting: int = 0) -> list[str]:
    """The names in `a::{b, c::{d, self}}, e`, each in full and without the names that they are given."""
    found: list[str] = []
    for part in _split(text):
        opening = part.find("{")
        if opening < 0 or nesting > _MAX_NESTING:
            name = part.split(" as ")[0].split("=>")[0].split(": ")[0].strip()
            found += [name] if name else []
            continue
        prefix = part[:opening].strip()
        for name in expand(part[opening + 1 :].rstrip().removesuffix("}"), nesting + 1):
            found.append(prefix.rstrip(":.\\") if name == "self" else prefix + name)
    return found


def _split(text: str) -> Iterator[str]:
    """The parts between commas that are in no braces."""
    depth = begin = 0
    for place, letter in enumerate(text):
        if letter == "{":
            depth += 1
        elif letter == "}":
            depth -= 1
        elif letter == "," and depth <= 0:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def _inner(nodes: FileNodes, rule: Inner) -> list[Import]:
    ids = nodes.under(nodes.of_types(rule.types), rule.parents)
    ids = ids[nodes.named[ids]]
    spans = zip(nodes.start[ids].tolist(), nodes.end[ids].tolist(), strict=True)
    if rule.take == "each":
        return [_literal(nodes.content[start:end]) for start, end in spans]
    within: dict[int, tuple[int, int]] = {}
    for parent, (start, end) in zip(nodes.parent[ids].tolist(), spans, strict=True):
        first = within.setdefault(parent, (start, end))
        if rule.take == "last":
            within[parent] = (start, end)
        elif rule.take == "span":
            within[parent] = (first[0], end)
    return [_literal(nodes.content[start:end]) for start, end in within.values()]


def _literal(raw: bytes, how: str = "") -> Import:
    text = raw[:_MAX_STATEMENT].decode("utf-8", "replace").strip()
    return Import(how or text[:1] if text[:1] in _QUOTES else how, text.strip(_QUOTES).removeprefix("[[").removesuffix("]]"))


def _called(nodes: FileNodes, rule: Calls) -> list[Import]:
    callees = nodes.under(nodes.of_types(rule.types), rule.nodes | {"command_name"})
    codes = frozenset(nodes.codes(rule.arguments))
    found: list[Import] = []
    for callee in nodes.spelled(callees, rule.names):
        call = int(nodes.parent[callee])
        if nodes.type(call) not in rule.nodes:
            call = int(nodes.parent[call])
        if callee - call > 2:
            continue
        for node in range(callee + 1, min(callee + 1 + _CALL_WINDOW, len(nodes.kind))):
            if nodes.start[node] >= nodes.end[call]:
                break
            if nodes.kind[node] in codes:
                how = nodes.text(callee)
                imported = _literal(nodes.raw(node), how)
                found += [Import(how, name) for name in expand(imported.module)]
                break
    return found


class Catalogue:
    """The files of a repository, and where imports find them."""

    def __init__(self, uris: Iterable[str]) -> None:
        self.uris = frozenset(uris)
        self.packages = self._packages()
        """Name -> the folders that hold the outermost packages of that name; empty, or ending in `/`."""
        self.probed: set[str] = set()
        """What answers depended on, since whoever asks cleared it: paths that were looked for, as a whole or without an ending,
        imports as written that are no file's, and `root_probe` of top-level names."""
        self._sorted = sorted(self.uris)
        self._roots: dict[str, list[str]] = {}
        self._known: dict[str, str | None] = {}

    def _packages(self) -> dict[str, set[str]]:
        folders = {uri.rpartition("/")[0] for uri in self.uris if uri.endswith(("/__init__.py", "/__init__.pyi"))}
        found: defaultdict[str, set[str]] = defaultdict(set)
        for package in folders:
            folder, _, last = package.rpartition("/")
            if folder not in folders:
                found[last].add(folder + "/" if folder else "")
        return found

    def _python_roots(self, name: str) -> list[str]:
        """The folders that a top-level name can be imported from: those that hold an outermost package of that name, and those
        of the usual ones that have it."""
        self.probed.add(root_probe(name))
        if name not in self._roots:
            usual = [root for root in SOURCE_ROOTS if self._has_python(f"{root}{name}/") or self._has_python(f"{root}{name}.")]
            self._roots[name] = [*usual, *sorted(self.packages.get(name, set()).difference(usual))]
        return self._roots[name]

    def _has_python(self, start: str) -> bool:
        for row in range(bisect_left(self._sorted, start), len(self._sorted)):
            if not self._sorted[row].startswith(start):
                return False
            if self._sorted[row].endswith((".py", ".pyi")):
                return True
        return False

    def resolve(self, item: Import, uri: str, lang: str) -> str:
        """The uri that an import in the file `uri` means, or the import as written."""
        folder = uri[: uri.rfind("/") + 1]
        if lang == "python":
            python = self._resolve_python(item, folder)
            if not python:
                self.probed.add(item.module)
            return python or item.module
        found: str | None = None
        if lang in _ECMASCRIPT:
            if item.module.startswith("."):
                found = self._ecmascript(_joined(folder, item.module))
        elif lang == "rust":
            found = self._rust(item, uri) if item.how == "mod" else self._rust_path(item.module.split("::"), uri)
        elif lang in ("c", "cpp"):
            found = self._first(item.module, (folder, *_INCLUDE_ROOTS), ("",)) if item.how == '"' else None
        elif lang == "ruby":
            roots = ("lib/", "") if item.how == "require" else (folder, "")
            found = self._first(item.module, roots, (".rb", ""))
        elif lang == "lua" and item.how == "require":
            found = self._first(item.module.replace(".", "/"), ("", "src/", "lua/", folder), (".lua", "/init.lua"))
        elif item.how:
            found = self._first(item.module, (folder, ""), ("",))
        if not found:
            self.probed.add(item.module)
        return found or item.module

    def _first(self, path: str, folders: Iterable[str], endings: tuple[str, ...]) -> str | None:
        for folder in folders:
            found = self._with_ending(_joined(folder, path), endings)
            if found is not None:
                return found
        return None

    def _with_ending(self, path: str | None, endings: tuple[str, ...]) -> str | None:
        if path is None:
            return None
        self.probed.add(path)
        return next((path + ending for ending in endings if path + ending in self.uris), None)

    def _ecmascript(self, path: str | None) -> str | None:
        """Exact, by extension, as a folder's index; and `./a.js` may mean `a.ts`, as in TypeScript's ES modules."""
        if path is None:
            return None
        self.probed.add(path)
        if path in self.uris:
            return path
        index = f"{path}/index" if path else "index"
        found = self._with_ending(path, _ECMASCRIPT_ENDINGS) or self._with_ending(index, _ECMASCRIPT_ENDINGS)
        stem, dot, ending = path.rpartition(".")
        if found is None and dot and ending in ("js", "jsx", "mjs", "cjs"):
            found = self._with_ending(stem, (".ts", ".tsx", ".mts", ".cts", ".d.ts"))
        return found

    def _rust(self, item: Import, uri: str) -> str | None:
        return self._with_ending(_joined(_rust_children(uri), item.module), _RUST_ENDINGS)

    def _rust_path(self, names: list[str], uri: str) -> str | None:
        """The file of the longest beginning of a path that starts at the crate, at this module or above it; what is in no file
        of its own is in that of the module before it."""
        folder: str | None = _rust_children(uri)
        if names[0] == "crate":
            folder = self._rust_crate(uri)
        elif names[0] not in ("self", "super"):
            return None
        if folder is None:
            return None
        while names[0] == "super" and folder:
            folder, names = folder[: folder.rfind("/", 0, -1) + 1], names[1:] or [""]
        names = names[1:] if names[0] in ("crate", "self") else names
        for count in range(len(names), 0, -1):
            found = self._with_ending(_joined(folder, "/".join(names[:count])), _RUST_ENDINGS)
            if found is not None:
                return found
        return self._with_ending(folder, (*_RUST_ROOTS, "mod.rs")) or self._with_ending(folder.rstrip("/"), (".rs",))

    def _rust_crate(self, uri: str) -> str | None:
        """The nearest folder from a file upwards that has the root of a crate."""
        above = uri
        while above:
            above = above[: above.rfind("/", 0, -1) + 1]
            self.probed.update(above + name for name in _RUST_ROOTS)
            if any(above + name in self.uris for name in _RUST_ROOTS):
                return above
        return None

    def _resolve_python(self, item: Import, folder: str) -> str | None:
        path = item.module.lstrip(".")
        level = len(item.module) - len(path)
        path = path.replace(".", "/")
        if level == 0:
            self.probed.add(folder + "__init__.py")
            return self._python_file(path, item.name, self._python_roots(_first_part(path))) or (
                # A script finds what lies beside it.
                self._python_file(path, item.name, (folder,)) if folder + "__init__.py" not in self.uris else None
            )
        for _ in range(level - 1):
            if not folder:
                return None
            folder = folder[: folder.rfind("/", 0, -1) + 1]
        return self._python_file(path, item.name, (folder,))

    def _python_file(self, path: str, name: str, roots: Iterable[str]) -> str | None:
        """The module of that name in a package, or else the module that the name is taken from."""
        for root in roots:
            base = root + path
            if name and name != "*":
                found = self._python_module(base + "/" + name if path else base + name)
                if found is not None:
                    return found
            found = self._python_module(base if path else base.rstrip("/"))
            if found is not None:
                return found
        return None

    def _python_module(self, path: str) -> str | None:
        self.probed.add(path)
        if path not in self._known:
            endings = _PYTHON_ENDINGS if path else ("__init__.py", "__init__.pyi")
            self._known[path] = self._with_ending(path, endings)
        return self._known[path]


def root_probe(name: str) -> str:
    """Instead of a path: that it was asked from where a top-level name can be imported."""
    return f"\0{name}"


def root_probes(moved: Iterable[str], now: Catalogue, then: Catalogue) -> set[str]:
    """Probes of the top-level names that may be imported from elsewhere than before, now that these uris came or went."""
    names = {name for name in {*now.packages, *then.packages} if now.packages.get(name) != then.packages.get(name)}
    names |= {_first_part(uri[len(root) :]) for uri in moved for root in SOURCE_ROOTS if uri.startswith(root)}
    return set(map(root_probe, names))


def probes_of(uri: str) -> set[str]:
    """What may have been looked for by whoever would find, or found, this file."""
    return {uri} | {uri.removesuffix(ending) for ending in _ENDINGS if uri.endswith(ending)}


def _rust_children(uri: str) -> str:
    """The folder of the modules that stand below that of a file; empty, or ending in `/`."""
    parent, slash, last = uri.removesuffix(".rs").rpartition("/")
    return parent + slash if f"{last}.rs" in _RUST_ROOTS or last == "mod" else f"{parent}{slash}{last}/"


def _joined(folder: str, path: str) -> str | None:
    """A path from a folder (empty, or ending in `/`), normalised; None when it leads out of the repository or is absolute."""
    if path.startswith("/"):
        return None
    joined = posixpath.normpath(folder + path)
    if joined == ".." or joined.startswith("../"):
        return None
    return "" if joined == "." else joined


def _first_part(path: str) -> str:
    """The first folder of a path, or the file's name up to its extension."""
    return path.partition("/")[0].partition(".")[0]
