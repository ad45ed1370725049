"""Running SCIP indexers: what they are given, under which limits, and what they could not take.

An indexer sees a scratch copy of the snapshot and nothing else: no configuration of the user's, no other packages, no network
use of our own making. What would make it give up the whole project is left out beforehand, with the reason.

Belongs here: the traps of indexers, and making what they wrote a function of what they read. Not here: finding and running
programs (`programs`), the configuration of scip-typescript (`typescript`), decoding (`reader`), tables
(`scip_tables`).
"""

from __future__ import annotations

import contextlib
import errno
import keyword
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from pipeline.errors import IndexFormatError
from pipeline.structure.scip import frames, proto, typescript
from pipeline.structure.scip.costly import costly
from pipeline.structure.scip.programs import Program, python_program, reason_of, run, typescript_program
from pipeline.structure.scip.scratch import FULL, scratch

__all__ = [
    "TYPESCRIPT",
    "LeftOut",
    "Program",
    "Ran",
    "index_python",
    "index_typescript",
    "is_typescript_input",
    "languages",
    "python_program",
    "settle",
    "typescript_program",
]

LONG_LINE = 10_000
"""Bytes of a line that may hold an expression too deep for an indexer's stack; only asked once one crashed."""
MAX_RETRIES = 50
"""Files that an indexer may name one after the other as what stopped it; it does so before the work begins."""
MAX_ROOTS = 256
PYTHON_VERSION = "3.13"
PYRIGHT_VERSION = "3.11"
"""The newest language version that scip-python knows; it parses newer syntax all the same."""
TYPESCRIPT = ("typescript", "tsx", "javascript")
"""Languages of the files that scip-typescript indexes."""
_UNIMPORTABLE = re.compile(r"(?:no importable module name|cannot read project file):? (.+?\.\w+)(?::|$)", re.MULTILINE)
_FULL = re.compile("no space left on device|disk quota exceeded", re.IGNORECASE)
_UNFIT_NAME = "its path is no importable module name"
_UNREADABLE = "it is not UTF-8"
_PYRIGHT = "pyrightconfig.json"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that an index does not cover, and why."""

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run: `problem` is empty when the index was written."""

    problem: str
    left_out: tuple[LeftOut, ...]


def index_python(program: Program, sources: Mapping[str, bytes], target: Path, timeout: float) -> Ran:
    """Index Python files (uri -> bytes) into `target`."""
    is_ty = program.tool == "ty-scip"
    roots = module_roots(list(sources))
    fitting, left_out = fitting_files(sources, roots) if is_ty else readable_files(sources)
    with scratch() as folder:
        project = folder / "project"
        # Package name and version are those of no package: they would change every symbol at every release.
        named = ["--quiet", "--project-name", ".", "--project-version", "."]
        if is_ty:
            _configure_ty(folder, roots)
            arguments = [*named, str(project), str(target)]
        else:
            _configure_pyright(folder)
            # With a list of packages, be it empty, it does not ask pip for one.
            packages = folder / "packages.json"
            packages.write_text("[]")
            arguments = ["index", *named, "--cwd", str(project), "--environment", str(packages), "--output", str(target)]
        left_out += _write_sources(project, {uri: sources[uri] for uri in fitting})
        return _attempts(program, arguments, project, target, timeout, sources, left_out, fitting)


def index_typescript(program: Program, sources: Mapping[str, bytes], target: Path, timeout: float) -> Ran:
    """Index TypeScript and JavaScript files, with the configuration files among them, into `target`."""
    code = {uri: content for uri, content in sources.items() if not typescript.is_configuration(uri)}
    left_out = [LeftOut(uri, _UNREADABLE) for uri, content in sorted(code.items()) if not _is_utf8(content)]
    unreadable = {item.uri for item in left_out}
    fitting = sorted(code.keys() - unreadable)
    with scratch() as folder:
        project = folder / "project"
        given = typescript.configured({uri: content for uri, content in sources.items() if uri not in unreadable})
        left_out += _write_sources(project, given)
        arguments = ["index", "--no-progress-bar", "--cwd", str(project), "--output", str(target)]
        return _attempts(program, arguments, project, target, timeout, sources, left_out, fitting)


def languages(language: str) -> tuple[str, ...]:
    """Languages of the files that an index of a language should describe."""
    return TYPESCRIPT if language == "typescript" else (language,)


def is_typescript_input(uri: str, lang: str) -> bool:
    """Whether scip-typescript wants to see a file."""
    return lang in TYPESCRIPT or typescript.is_configuration(uri)


def module_roots(uris: Sequence[str]) -> list[str]:
    """Folders that imports start from, the deeper first: `.`, every folder that could be no package, and `src` in these.

    A file in `packages/web-api/src/web/x.py` is thereby the module `web.x`, and not a reason to give up.
    """
    tops = {PurePosixPath()}
    packages: set[PurePosixPath] = set()
    for uri in uris:
        folder = PurePosixPath(uri).parent
        if PurePosixPath(uri).stem == "__init__":
            packages.add(folder)
        for depth in range(len(folder.parts), 0, -1):
            if not _is_module_name(folder.parts[depth - 1]):
                tops.add(PurePosixPath(*folder.parts[:depth]))
                break
    folders = {PurePosixPath(uri).parent for uri in uris}
    above = {parent for folder in folders for parent in (folder, *folder.parents)}
    roots = tops | {top / "src" for top in tops if top / "src" in above and top / "src" not in packages}
    ordered = sorted(roots, key=lambda root: (-len(root.parts), root.parts))
    return [str(root) for root in ordered[-MAX_ROOTS:]]


def fitting_files(sources: Mapping[str, bytes], roots: Sequence[str]) -> tuple[list[str], list[LeftOut]]:
    """The uris that an indexer of Python takes, in order, and the others with their reasons."""
    named: dict[str, str] = {}
    left_out: list[LeftOut] = []
    fitting: list[str] = []
    # Of one name, Python takes the package before the module; then the root that comes first.
    for uri in sorted(sources, key=lambda uri: (not uri.rpartition("/")[2].startswith("__init__."), uri)):
        name = _module_name(uri, roots)
        reason = _unfit(uri, sources[uri], name)
        if not reason and name is not None:
            extension = uri.rpartition(".")[2]
            other = named.setdefault(f"{name}|{extension}", uri)
            if other != uri:
                reason = f"its module name `{name}` is that of {other}"
        if reason:
            left_out.append(LeftOut(uri, reason))
        else:
            fitting.append(uri)
    return sorted(fitting), sorted(left_out, key=lambda item: item.uri)


def readable_files(sources: Mapping[str, bytes]) -> tuple[list[str], list[LeftOut]]:
    """The uris that any indexer of Python takes, in order, and the others with their reasons."""
    reasons = {uri: _unreadable(uri, sources[uri]) for uri in sorted(sources)}
    return [uri for uri, reason in reasons.items() if not reason], [LeftOut(*item) for item in reasons.items() if item[1]]


def _unreadable(uri: str, content: bytes) -> str:
    if uri.endswith(".ipynb"):
        return "it is a notebook"
    if not uri.endswith((".py", ".pyi")):
        return "it is no .py file"
    return "" if _is_utf8(content) else _UNREADABLE


def _unfit(uri: str, content: bytes, name: str | None) -> str:
    reason = _unreadable(uri, content)
    if not reason and name is None:
        reason = _UNFIT_NAME
    return reason or costly(content)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _module_name(uri: str, roots: Sequence[str]) -> str | None:
    """The name that a file is imported by from the first root that gives it one."""
    path = PurePosixPath(uri)
    for root in roots:
        if root == "." or path.is_relative_to(root):
            parts = path.with_suffix("").relative_to(root).parts if root != "." else path.with_suffix("").parts
            if all(map(_is_module_name, parts)):
                return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    return None


def _is_module_name(word: str) -> bool:
    return word.isidentifier() and not keyword.iskeyword(word)


def _write_sources(project: Path, sources: Mapping[str, bytes]) -> list[LeftOut]:
    """Copy the snapshot's files to where the indexer looks. Returns what could not be copied."""
    project.mkdir(parents=True, exist_ok=True)
    left_out: list[LeftOut] = []
    for uri, content in sources.items():
        path = project / uri
        try:
            if ".." in path.parts or path.exists():
                raise FileExistsError
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            # Half of a file would be indexed as if it were the whole.
            with contextlib.suppress(OSError, ValueError):
                path.unlink()
            left_out.append(LeftOut(uri, "it could not be copied for the indexer"))
    return left_out


def _configure_ty(scratch: Path, roots: Sequence[str]) -> None:
    """An empty environment and a fixed language version: otherwise the index depends on the interpreter at hand."""
    _empty_environment(scratch / "environment", PYTHON_VERSION)
    # By default ty skips folders of such names; what is in the snapshot is meant to be indexed.
    usual = ("build", "dist", "node_modules", "venv", "buck-out", "_build", "site-packages")
    lines = [
        "[src]",
        "respect-ignore-files = false",
        "exclude = " + msgspec.json.encode([f"!**/{name}/" for name in usual]).decode(),
        "[environment]",
        f'python-version = "{PYTHON_VERSION}"',
        'python-platform = "linux"',
        'python = "../environment"',
        "root = " + msgspec.json.encode(list(roots)).decode(),
    ]
    (scratch / "project").mkdir()
    (scratch / "project" / "ty.toml").write_text("\n".join(lines) + "\n")


def _configure_pyright(scratch: Path) -> None:
    """The same for scip-python, which otherwise starts the interpreter on PATH and takes the packages that this one has."""
    _empty_environment(scratch / "environment", PYRIGHT_VERSION)
    configuration = {
        "pythonVersion": PYRIGHT_VERSION,
        "pythonPlatform": "Linux",
        "venvPath": "..",
        "venv": "environment",
        # Without a list of its own it passes over folders whose names begin with a dot.
        "exclude": [_PYRIGHT],
    }
    (scratch / "project").mkdir()
    (scratch / "project" / _PYRIGHT).write_bytes(msgspec.json.encode(configuration))


def _empty_environment(folder: Path, version: str) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "lib" / f"python{version}" / "site-packages").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(f"home = /nonexistent\nversion_info = {version}.0\n")


def _attempts(
    program: Program,
    arguments: Sequence[str],
    project: Path,
    target: Path,
    timeout: float,
    sources: Mapping[str, bytes],
    left_out: Sequence[LeftOut],
    fitting: Sequence[str],
) -> Ran:
    """Run an indexer until it does not give up; each time without the file that it named, or after a crash without suspects."""
    out = {item.uri: item.reason for item in left_out}
    files = dict.fromkeys(uri for uri in fitting if uri not in out)
    suspects = [uri for uri in files if max(map(len, sources[uri].split(b"\n"))) > LONG_LINE]
    problem = "it was stopped by too many files, one after the other"
    deadline = time.monotonic() + timeout
    for _ in range(MAX_RETRIES):
        target.unlink(missing_ok=True)
        code, said = run(program, arguments, project, project.parent, max(deadline - time.monotonic(), 0.1))
        if code is None:
            problem = f"it took longer than {timeout:g} seconds"
            break
        if code == 0 and target.is_file():
            return Ran("", _sorted(out))
        dropped, reason = _offenders(said, project, files), "the indexer stopped at it"
        if not dropped:
            dropped, reason, suspects = suspects, f"the indexer crashed, and it has a line of more than {LONG_LINE} bytes", []
        if not dropped:
            if _FULL.search(said):
                # No property of the files: it would be remembered as one.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            problem = f"it gave up: {reason_of(code, said, (project, target.parent))}"
            break
        for uri in dropped:
            del files[uri]
            suspects = [suspect for suspect in suspects if suspect != uri]
            (project / uri).unlink(missing_ok=True)
            out[uri] = reason
    target.unlink(missing_ok=True)
    return Ran(problem, _sorted(out))


def _sorted(left_out: Mapping[str, str]) -> tuple[LeftOut, ...]:
    return tuple(LeftOut(uri, left_out[uri]) for uri in sorted(left_out))


def _offenders(said: str, project: Path, files: Mapping[str, None]) -> list[str]:
    """The files that an indexer named as what stopped it."""
    paths = (match[1] for match in _UNIMPORTABLE.finditer(said))
    found = {path.removeprefix(f"{project.resolve()}/").removeprefix(f"{project}/") for path in paths}
    return sorted(found & files.keys())


def settle(path: Path) -> set[str]:
    """Take the folder that it was made in, which is another at every run, out of an index; returns the paths of its documents.

    Raises IndexFormatError for what is no index.
    """
    described: set[str] = set()

    def settled() -> Iterator[frames.Frame]:
        for frame in frames.frames(path):
            if frame.field == proto.METADATA:
                frame = replace(frame, payload=_placeless(frame.payload, frame.place))
            elif frame.field == proto.DOCUMENTS:
                described.add(_path_of(frame.payload, frame.place))
            yield frame

    written = path.with_suffix(".tmp")
    try:
        frames.write(written, settled())
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
    return described


def _placeless(payload: bytes, place: str) -> bytes:
    message = _parsed("Metadata", payload, place)
    message.project_root = "file:///"
    encoded: bytes = message.SerializeToString(deterministic=True)
    return encoded


def _path_of(payload: bytes, place: str) -> str:
    """The path of a document, which nearly every tool writes first and with a length of one byte."""
    if len(payload) > 2 and payload[0] == 0x0A and payload[1] < 0x80:
        return payload[2 : 2 + payload[1]].decode("utf-8", "replace")
    path: str = _parsed("Document", payload, place).relative_path
    return path


def _parsed(name: str, payload: bytes, place: str) -> Any:
    try:
        return proto.message_class(name).FromString(payload)
    except Exception as error:  # the decoder's own class differs by implementation
        raise IndexFormatError(f"The index has a damaged {name} at {place}: {error}.", hint="Run the indexer again.") from None
