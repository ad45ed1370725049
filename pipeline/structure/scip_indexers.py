"""Running SCIP indexers: what they are given, under which limits, and what they could not take.

An indexer sees a scratch copy of the snapshot and nothing else: no configuration of the user's, no other packages, no network
use of our own making. What would make it give up the whole project is left out beforehand, with the reason.

Belongs here: programs, their traps, and making what they wrote a function of what they read. Not here: decoding it
(`scip_reader`), tables (`scip_tables`).
"""

from __future__ import annotations

import contextlib
import errno
import keyword
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from pipeline.config import ScipSettings
from pipeline.errors import IndexFormatError
from pipeline.files import digest_file
from pipeline.structure import scip_frames, scip_proto
from pipeline.structure.scip_costly import costly
from pipeline.structure.scip_scratch import FULL, scratch

LONG_LINE = 10_000
"""Bytes of a line that may hold an expression too deep for an indexer's stack; only asked once one crashed."""
MAX_RETRIES = 50
"""Files that an indexer may name one after the other as what stopped it; it does so before the work begins."""
MAX_ROOTS = 256
MEMORY_KIB = 12 << 20
"""Address space of an indexer."""
PYTHON_VERSION = "3.13"
TYPESCRIPT = ("typescript", "tsx", "javascript")
"""Languages of the files that scip-typescript indexes."""
_TYPESCRIPT_FILES = re.compile(r"(?:.*/)?(?:[tj]sconfig[^/]*|package)\.json")

# A shell of its own sets the limits: between fork and exec, Python code could deadlock in a process with threads. Its input
# is a pipe that ends with this process, however that ends; then the indexer ends as well.
_WATCHED = 'exec 3<&0; (read -r _ <&3; kill -KILL 0) & exec "$@" </dev/null 3<&-'
_LIMITED = f"ulimit -v {MEMORY_KIB} 2>/dev/null; ulimit -c 0; {_WATCHED}"
_UNIMPORTABLE = re.compile(r"(?:no importable module name|cannot read project file):? (.+?\.\w+)(?::|$)", re.MULTILINE)
_FULL = re.compile("no space left on device|disk quota exceeded", re.IGNORECASE)
_ERROR = re.compile(r"\w*Error\b")
_UNFIT_NAME = "its path is no importable module name"


@dataclass(frozen=True, slots=True)
class Program:
    """An indexer: how it is called, and which version it is."""

    tool: str
    path: str
    version: str


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


def python_program(settings: ScipSettings) -> Program | None:
    """The indexer of Python: scip-python when configured, else `ty-scip` beside the interpreter or on PATH."""
    if settings.scip_python:
        return _program("scip-python", settings.scip_python)
    beside = Path(sysconfig.get_path("scripts")) / "ty-scip"
    if beside.is_file():
        with contextlib.suppress(metadata.PackageNotFoundError):
            return Program("ty-scip", str(beside), metadata.version("ty-scip"))
    return _program("ty-scip", "ty-scip")


def typescript_program(settings: ScipSettings) -> Program | None:
    """The indexer of TypeScript and JavaScript: scip-typescript as configured or on PATH."""
    return _program("scip-typescript", settings.scip_typescript or "scip-typescript")


def _program(tool: str, command: str) -> Program | None:
    """A program with the version of the npm package that it lies in, or else its digest: to ask it takes too long."""
    found = shutil.which(command)
    if found is None:
        return None
    real = Path(found).resolve()
    for folder in list(real.parents)[:4]:
        with contextlib.suppress(OSError, msgspec.MsgspecError, AttributeError):
            version = msgspec.json.decode((folder / "package.json").read_bytes()).get("version")
            if isinstance(version, str):
                return Program(tool, found, version)
    return Program(tool, found, digest_file(real)[:16])


def index_python(program: Program, sources: Mapping[str, bytes], target: Path, timeout: float) -> Ran:
    """Index Python files (uri -> bytes) into `target`."""
    roots = module_roots(list(sources)) if program.tool == "ty-scip" else ["."]
    fitting, left_out = fitting_files(sources, roots)
    with scratch() as folder:
        project = folder / "project"
        _write_sources(project, {uri: sources[uri] for uri in fitting})
        if program.tool == "ty-scip":
            _configure_ty(folder, roots)
            # Package name and version are those of no package: they would change every symbol at every release.
            command = [program.path, "--quiet", "--project-name", ".", "--project-version", ".", str(project), str(target)]
        else:
            (folder / "packages.json").write_text("[]")
            command = [program.path, "index", "--cwd", str(project), "--project-name", ".", "--project-version", "."]
            command += ["--environment", str(folder / "packages.json"), "--output", str(target)]
        return _attempts(command, project, target, timeout, dict.fromkeys(fitting), sources, left_out)


def index_typescript(program: Program, sources: Mapping[str, bytes], target: Path, timeout: float) -> Ran:
    """Index TypeScript and JavaScript files, with the configuration files among them, into `target`."""
    with scratch() as folder:
        project = folder / "project"
        _write_sources(project, sources)
        if not any(_TYPESCRIPT_FILES.fullmatch(uri) and not uri.endswith("package.json") for uri in sources):
            # The one that scip-typescript would infer leaves JavaScript out where there is TypeScript too.
            (project / "tsconfig.json").write_text('{"compilerOptions": {"allowJs": true}}')
        command = [
            program.path,
            "index",
            "--infer-tsconfig",
            "--no-progress-bar",
            "--cwd",
            str(project),
            "--output",
            str(target),
        ]
        return _attempts(command, project, target, timeout, dict.fromkeys(sources), sources, [])


def is_typescript_input(uri: str, lang: str) -> bool:
    """Whether scip-typescript wants to see a file."""
    return lang in TYPESCRIPT or _TYPESCRIPT_FILES.fullmatch(uri) is not None


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


def _unfit(uri: str, content: bytes, name: str | None) -> str:
    if uri.endswith(".ipynb"):
        return "it is a notebook"
    if not uri.endswith((".py", ".pyi")):
        return "it is no .py file"
    if name is None:
        return _UNFIT_NAME
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "it is not UTF-8"
    return costly(content)


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


def _write_sources(project: Path, sources: Mapping[str, bytes]) -> None:
    project.mkdir(parents=True)
    for uri, content in sources.items():
        path = project / uri
        if ".." in path.parts or "\0" in uri:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            # A name that is too long here costs its file; of what a full disk cuts off, the indexer would see a half.
            if error.errno in FULL:
                raise


def _configure_ty(scratch: Path, roots: Sequence[str]) -> None:
    """An empty environment and a fixed language version: otherwise the index depends on the interpreter at hand."""
    environment = scratch / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "lib" / f"python{PYTHON_VERSION}" / "site-packages").mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text(f"home = /nonexistent\nversion_info = {PYTHON_VERSION}.0\n")
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
    (scratch / "project" / "ty.toml").write_text("\n".join(lines) + "\n")


def _attempts(
    command: Sequence[str],
    project: Path,
    target: Path,
    timeout: float,
    files: dict[str, None],
    sources: Mapping[str, bytes],
    left_out: list[LeftOut],
) -> Ran:
    """Run an indexer until it does not give up; each time without the file that it named, or after a crash without suspects."""
    suspects = [uri for uri in files if max(map(len, sources[uri].split(b"\n"))) > LONG_LINE]
    out = list(left_out)
    problem = "it was stopped by too many files, one after the other"
    deadline = time.monotonic() + timeout
    for _ in range(MAX_RETRIES):
        target.unlink(missing_ok=True)
        code, said = _run(command, project, max(deadline - time.monotonic(), 0.1))
        if code is None:
            problem = f"it took longer than {timeout:g} seconds"
            break
        if code == 0 and target.is_file():
            return Ran("", tuple(sorted(out, key=lambda item: item.uri)))
        dropped, reason = _offenders(said, project, files), "the indexer stopped at it"
        if not dropped:
            dropped, reason, suspects = suspects, f"the indexer crashed, and it has a line of more than {LONG_LINE} bytes", []
        if not dropped:
            if _FULL.search(said):
                # No property of the files: it would be remembered as one.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            lines = said.strip().replace(str(project), "").replace(str(target), "").splitlines() or [f"exit status {code}"]
            line = next((line for line in reversed(lines) if _ERROR.match(line)), lines[-1])
            problem = f"it gave up: {re.sub(r'[0-9]{3,}', 'N', line)[:300]}"
            break
        for uri in dropped:
            del files[uri]
            suspects = [suspect for suspect in suspects if suspect != uri]
            (project / uri).unlink(missing_ok=True)
            out.append(LeftOut(uri, reason))
    target.unlink(missing_ok=True)
    return Ran(problem, tuple(sorted(out, key=lambda item: item.uri)))


def _offenders(said: str, project: Path, files: Mapping[str, None]) -> list[str]:
    """The files that an indexer named as what stopped it."""
    paths = (match[1] for match in _UNIMPORTABLE.finditer(said))
    found = {path.removeprefix(f"{project.resolve()}/").removeprefix(f"{project}/") for path in paths}
    return sorted(found & files.keys())


def _run(command: Sequence[str], project: Path, timeout: float) -> tuple[int | None, str]:
    """Exit status (None: out of time) and the end of what was written to stderr. Its whole process group ends with it."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    # HOME is elsewhere, so that no configuration of the user's is found.
    environment = kept | {"HOME": str(project.parent), "XDG_CONFIG_HOME": str(project.parent)}
    # V8 reserves far more address space than it uses.
    script = _WATCHED if command[0].endswith(("scip-python", "scip-typescript", ".js")) else _LIMITED
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(  # noqa: S603 - the program that the settings name, in an argument list
                ["/bin/sh", "-c", script, "sh", *command],
                cwd=project,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                process_group=0,
            )
        except OSError as error:
            return 127, f"{error.strerror}"
        code: int | None
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - (1 << 16)))
        return code, errors.read().decode("utf-8", "replace")


def settle(path: Path) -> set[str]:
    """Take the folder that it was made in, which is another at every run, out of an index; returns the paths of its documents.

    Raises IndexFormatError for what is no index.
    """
    described: set[str] = set()

    def settled() -> Iterator[scip_frames.Frame]:
        for frame in scip_frames.frames(path):
            if frame.field == scip_proto.METADATA:
                frame = replace(frame, payload=_placeless(frame.payload, frame.place))
            elif frame.field == scip_proto.DOCUMENTS:
                described.add(_path_of(frame.payload, frame.place))
            yield frame

    written = path.with_suffix(".tmp")
    scip_frames.write(written, settled())
    written.replace(path)
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
        return scip_proto.message_class(name).FromString(payload)
    except Exception as error:  # the decoder's own class differs by implementation
        raise IndexFormatError(f"The index has a damaged {name} at {place}: {error}.", hint="Run the indexer again.") from None
