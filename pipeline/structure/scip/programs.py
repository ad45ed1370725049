"""The programs that index, and running one under limits.

A program gets no terminal, no environment of the user's but where programs are, and a home of its own; its whole process group
ends with it, whatever it started.

Belongs here: finding programs, limits, what they said. Not here: what they are given and what becomes of it (`indexers`).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from pipeline.config import ScipSettings
from pipeline.errors import ConfigError
from pipeline.files import digest_file

MEMORY_KIB = 12 << 20
"""Address space of an indexer; of one that Node.js runs, its heap."""
FILE_KIB = 8 << 20
"""The largest file that an indexer may write."""
SAID_BYTES = 1 << 16
"""What is kept of what an indexer says: the end."""

# A shell of its own sets the limits: between fork and exec, Python code could deadlock in a process with threads. Its input
# is a pipe that ends with this process, however that ends; then the indexer ends as well.
_WATCHED = 'exec 3<&0; (read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'
_LIMITED = f"ulimit -f {FILE_KIB * 2} 2>/dev/null; ulimit -c 0; {_WATCHED}"
_LIMITED_MEMORY = f"ulimit -v {MEMORY_KIB} 2>/dev/null; {_LIMITED}"
_NODE = ("scip-python", "scip-typescript")
"""Programs of Node.js, which reserves far more address space than it uses."""
_REASON = re.compile(r"^\W*\w*(?:error|exception)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Program:
    """An indexer: how it is called, and which version it is."""

    tool: str
    path: str
    version: str


def python_program(settings: ScipSettings) -> Program | None:
    """The indexer of Python: scip-python when it is configured; else `ty-scip`, beside the interpreter or on PATH; else
    scip-python on PATH.

    `ty-scip` comes first because it describes the same definitions at a fraction of the cost. Raises ConfigError when what is
    configured is no program.
    """
    if settings.scip_python:
        return _configured("scip-python", settings.scip_python, "scip_python")
    beside = Path(sysconfig.get_path("scripts")) / "ty-scip"
    if beside.is_file():
        with contextlib.suppress(metadata.PackageNotFoundError):
            return Program("ty-scip", str(beside), metadata.version("ty-scip"))
    return _program("ty-scip", "ty-scip") or _program("scip-python", "scip-python")


def typescript_program(settings: ScipSettings) -> Program | None:
    """The indexer of TypeScript and JavaScript: scip-typescript as configured, or on PATH.

    Raises ConfigError when what is configured is no program.
    """
    if settings.scip_typescript:
        return _configured("scip-typescript", settings.scip_typescript, "scip_typescript")
    return _program("scip-typescript", "scip-typescript")


def _configured(tool: str, command: str, setting: str) -> Program:
    program = _program(tool, str(Path(command).expanduser()))
    if program is None:
        raise ConfigError(f"There is no program {command}, which `{setting}` names.", hint="Give the path of a program.")
    return program


def _program(tool: str, command: str) -> Program | None:
    """A program with the version of the npm package that it lies in, or else its digest: to ask it takes too long."""
    found = shutil.which(command)
    if found is None:
        return None
    real = Path(found).resolve()
    for folder in list(real.parents)[:4]:
        version = _package_version(folder)
        if version:
            # What scip-typescript writes depends on the compiler that was installed with it as much as on itself.
            compilers = (_package_version(above / "node_modules" / "typescript") for above in (folder, *folder.parents))
            compiler = next((found for found in compilers if found), "") if tool == "scip-typescript" else ""
            return Program(tool, found, f"{version} (typescript {compiler})" if compiler else version)
    return Program(tool, found, digest_file(real)[:16])


def _package_version(folder: Path) -> str:
    with contextlib.suppress(OSError, msgspec.MsgspecError, AttributeError):
        version = msgspec.json.decode((folder / "package.json").read_bytes()).get("version")
        return version if isinstance(version, str) else ""
    return ""


def run(program: Program, arguments: Sequence[str], folder: Path, home: Path, timeout: float) -> tuple[int | None, str]:
    """Run a program in `folder`; its whole process group ends with it.

    Returns its exit status (negative: the signal that ended it; None: out of time), and the end of what it said.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    # HOME is elsewhere, so that no configuration of the user's is found.
    environment = kept | {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    # An interpreter that an indexer might start must not take modules from the folder that it is started in.
    environment |= {"PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    limits = _LIMITED_MEMORY
    if program.tool in _NODE:
        limits = _LIMITED
        environment["NODE_OPTIONS"] = f"--max-old-space-size={MEMORY_KIB >> 10}"
    try:
        process = subprocess.Popen(  # noqa: S603 - the program that the settings name, in an argument list
            ["/bin/sh", "-c", limits, "sh", program.path, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    except OSError as error:
        return 127, f"{error.strerror}"
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout as pipe:
        try:
            code, said = _listen(process, pipe.fileno(), time.monotonic() + timeout)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return code, said.decode("utf-8", "replace")


def _listen(process: subprocess.Popen[bytes], pipe: int, deadline: float) -> tuple[int | None, bytes]:
    """Wait for a process and keep the end of what it says, however much that is."""
    said = b""
    while True:
        # Asked before the pipe is: what the process said last is then still read.
        code = process.poll()
        left = deadline - time.monotonic()
        ready, _, _ = select.select([pipe], [], [], 0 if code is not None else max(0.0, min(left, 0.1)))
        data = os.read(pipe, SAID_BYTES) if ready else b""
        said = (said + data)[-SAID_BYTES:]
        if data and left > 0:
            continue
        if code is not None:
            return code, said
        if left <= 0:
            return None, said
        if ready:  # it closed its output and works on
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(left)


def reason_of(code: int, said: str, hidden: Sequence[Path]) -> str:
    """Why a program gave up, in one line that is the same at every run: paths of `hidden` folders and long numbers are cut."""
    lines = [line for line in said.strip().splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if _REASON.match(line)), lines[-1] if lines else "")
    if not last:
        last = f"signal {-code}" if code < 0 else f"exit status {code}"
    for folder in hidden:
        last = last.replace(str(folder), "")
    return re.sub(r"[0-9]{3,}", "N", last.strip())[:300]
