"""What is installed here: the program and its packages, FAISS and GPUs, indexers, optional parts.

Belongs here: looking at this machine and this environment. Not here: stores (`stores`, `dagster_home`).
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterator, Set
from importlib import metadata
from pathlib import Path

from pipeline import __version__
from pipeline.config import ScipSettings, SearchSettings
from pipeline.errors import ConfigError
from pipeline.index.dense.families import FAMILIES, import_faiss
from pipeline.index.dense.gpu import why_not
from pipeline.installed import version_or_none
from pipeline.interfaces.examining.findings import Finding, Level
from pipeline.structure.scip.indexers import TYPESCRIPT
from pipeline.structure.scip.programs import Program, python_program, typescript_program

AREA, INDEXERS = "installed", "indexers"
_DISTRIBUTION = "codeintel-pipeline"
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_SHOWN = ("duckdb", "numpy", "pyarrow", "tantivy", "tokenizers", "tree-sitter", "dagster")
_FAISS = ("cpu", "gpu")
"""Extras that are looked at on their own."""
_SECONDS = 10.0
"""What a program may take to say which version it is."""
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def examine_installation() -> Iterator[Finding]:
    """The program, its packages, FAISS, GPUs, optional parts."""
    system = f"{platform.system()} {platform.machine()}"
    yield Finding(AREA, "program", Level.OK, f"codeintel-pipeline {__version__}, Python {platform.python_version()}, {system}")
    yield _packages()
    yield from _faiss()
    yield _extras()


def _requirements() -> list[str]:
    try:
        return metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def _packages() -> Finding:
    """Whether every package that is needed is there, in a version that is good for it."""
    from packaging.requirements import InvalidRequirement, Requirement

    wrong = []
    for line in _requirements():
        try:
            needed = Requirement(line)
        except InvalidRequirement:
            continue
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = version_or_none(needed.name)
        if found is None:
            wrong.append(f"{needed.name} is missing")
        elif not needed.specifier.contains(found, prereleases=True):
            wrong.append(f"{needed.name} is {found}, and {needed.specifier} is needed")
    versions = {name: found for name in _SHOWN if (found := version_or_none(name))}
    if wrong:
        hint = "Install it again into a fresh environment (in a checkout: `make clean setup`)."
        return Finding(AREA, "packages", Level.PROBLEM, "; ".join(wrong), hint, facts={"versions": versions})
    said = ", ".join(f"{name} {found}" for name, found in versions.items())
    return Finding(AREA, "packages", Level.OK, said, facts={"versions": versions})


def _faiss() -> Iterator[Finding]:
    try:
        faiss = import_faiss()
    except ConfigError as error:
        yield Finding(AREA, "faiss", Level.PROBLEM, error.message, error.hint)
        return
    package = next((name for name in ("faiss-cpu", "faiss-gpu") if version_or_none(name)), "a FAISS of unknown origin")
    options = " ".join(str(faiss.get_compile_options()).split())
    yield Finding(
        AREA, "faiss", Level.OK, f"{package} {faiss.__version__} ({options})", facts={"package": package, "options": options}
    )
    yield _gpu(_NVIDIA)


def _gpu(devices: Path) -> Finding:
    """Whether searches can use a GPU, and why not. `devices` is where the driver lists them."""
    reason = why_not(SearchSettings(), FAMILIES["ivf_flat"])
    if not reason:
        count = int(import_faiss().get_num_gpus())
        return Finding(AREA, "GPU", Level.OK, f"{count} device{'s' if count > 1 else ''} that FAISS can search on")
    there = devices.is_dir() and any(devices.iterdir())
    if there and not version_or_none("faiss-gpu"):
        hint = (
            f'To search on it, make an environment with the extra `gpu` in place of `cpu`: pip install "{_DISTRIBUTION}[gpu]".'
        )
        return Finding(AREA, "GPU", Level.NOTE, f"off: there is a device, but {reason}", hint)
    if there:
        hint = "See whether `nvidia-smi` runs, and whether this process may see the device (CUDA_VISIBLE_DEVICES)."
        return Finding(AREA, "GPU", Level.WARNING, f"off: the driver lists a device, but {reason}", hint)
    return Finding(AREA, "GPU", Level.NOTE, f"off: {reason}; searches run on the processor")


def _extras() -> Finding:
    """Which optional parts are installed."""
    wanted: dict[str, list[str]] = {}
    for line in _requirements():
        if (extra := _EXTRA.search(line)) and (name := _NAME.match(line)):
            wanted.setdefault(extra[1], []).append(name[0])
    there = {extra: all(version_or_none(name) for name in names) for extra, names in wanted.items() if extra not in _FAISS}
    installed = [extra for extra, complete in there.items() if complete]
    missing = [extra for extra, complete in there.items() if not complete]
    text = "; ".join(filter(None, [", ".join(installed), f"not installed: {', '.join(missing)}" if missing else ""]))
    return Finding(AREA, "extras", Level.OK if installed else Level.NOTE, text, facts={"extras": there})


def examine_indexers(settings: ScipSettings, languages: Set[str]) -> Iterator[Finding]:
    """The programs that resolve symbols, under `settings`, for the `languages` that are indexed."""
    if settings.scip == "off":
        yield Finding(INDEXERS, "scip", Level.NOTE, "off by the setting `scip`: symbols come from syntax alone")
        return
    for what, find, used, advice in (
        ("Python", python_program, "python" in languages, "Install ty-scip: pip install ty-scip."),
        (
            "TypeScript", typescript_program, not languages.isdisjoint(TYPESCRIPT),
            "Install scip-typescript: npm install -g @sourcegraph/scip-typescript.",
        ),
    ):  # fmt: skip
        try:
            program = find(settings)
        except ConfigError as error:
            yield Finding(INDEXERS, what, Level.PROBLEM, error.message, error.hint)
            continue
        if program is None:
            text = f"no indexer of {what} is installed: its symbols come from syntax"
            level, hint = (Level.WARNING, advice) if used else (Level.NOTE, "")
            yield Finding(INDEXERS, what, level, text, hint)
        else:
            yield _runs(what, program)


def _runs(what: str, program: Program) -> Finding:
    """Whether an indexer can be started at all."""
    facts = {"tool": program.tool, "version": program.version, "path": program.path}
    try:
        done = subprocess.run(  # noqa: S603 - the program that the settings name, in an argument list
            [program.path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
        wrong = f"it ended with status {done.returncode}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        wrong = f"it did not answer within {_SECONDS:.0f} s"
    except OSError as error:
        wrong = error.strerror or str(error)
    if wrong:
        hint = "Install it again, or set `scip` to `off` to do without."
        text = f"{program.tool} at {program.path} does not run: {wrong}"
        return Finding(INDEXERS, what, Level.PROBLEM, text, hint, facts=facts)
    return Finding(INDEXERS, what, Level.OK, f"{program.tool} {program.version}", facts=facts)
