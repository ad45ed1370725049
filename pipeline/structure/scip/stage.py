"""The stage `scip_index`: indexers are run, or indexes that were built elsewhere taken.

Belongs here: which languages are indexed by what, and what is recorded of it. Not here: running a program (`indexers`),
what the indexes say (`scip_tables`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline import tables
from pipeline.config import ScipSettings, Settings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.files import digest_file
from pipeline.schemas import ScipIndex, Snapshot, Sources
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.structure.scip import documents, frames, indexers, json_dialects, outcomes, reader
from pipeline.structure.scip.indexers import Program, Ran
from pipeline.structure.scip.outcomes import Indexer
from pipeline.workers import Runtime

_UNDESCRIBED = documents.NOTHING
_ABSENT = "the indexer is not installed"
_FAILED = "the indexer failed"
_LANGUAGE = re.compile(r"[a-z][a-z0-9-]{0,31}")


def scip_index(source: Artefact[Snapshot], settings: ScipSettings, runtime: Runtime, out: Output[ScipIndex]) -> Facts:
    """Run the indexers that there are, or take what was built elsewhere.

    A failed indexer is recorded in `scip.json` and is no error. Raises ConfigError and IndexFormatError for a supplied index
    that cannot be read. Facts: `indexers` (language -> status), `files_indexed`, `left_out` (files).
    """
    folder = out.path / ScipIndex.DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[Indexer] = []
    supplied = _supplied(settings) if settings.scip != "off" else {}
    sources = {} if settings.scip == "off" else _sources(source.path)
    for language, path in supplied.items():
        mine = [uri for uri, (lang, _) in sources.items() if lang in indexers.languages(language)]
        entries.append(_take(language, path, folder / f"{language}.scip", mine))
    python = {uri: content for uri, (lang, content) in sources.items() if lang == "python"}
    typescript = {uri: data for uri, (lang, data) in sources.items() if indexers.is_typescript_input(uri, lang)}
    runs: list[tuple[str, dict[str, bytes], Program | None, Callable[[Program, Mapping[str, bytes], Path, float], Ran]]] = []
    if python and "python" not in supplied:
        runs.append(("python", python, indexers.python_program(settings), indexers.index_python))
    if "typescript" not in supplied and any(sources[uri][0] in indexers.TYPESCRIPT for uri in typescript):
        program = indexers.typescript_program(settings)
        runs.append(("typescript", typescript, program, indexers.index_typescript))
    for language, files, program, run in runs:
        target = folder / f"{language}.scip"
        wanted = [uri for uri in files if sources[uri][0] in indexers.languages(language)]
        if program is None:
            entries.append(_entry(language, "absent", problem=_ABSENT, left_out=dict.fromkeys(wanted, _ABSENT)))
            continue
        ran = run(program, files, target, float(settings.scip_timeout))
        entries.append(_ran(language, program, ran, target, wanted))
    if settings.scip == "off":
        entries.append(_entry("", "off"))
    entries.sort(key=lambda entry: entry.language)
    outcomes.write(out.path, entries)
    return {
        "indexers": {entry.language or "all": entry.status for entry in entries},
        "files_indexed": sum(entry.files_indexed for entry in entries),
        "left_out": sum(len(entry.left_out) for entry in entries),
    }


def _entry(
    language: str,
    status: Literal["indexed", "supplied", "absent", "failed", "off"],
    *,
    tool: str = "",
    version: str = "",
    files: int = 0,
    problem: str = "",
    left_out: Mapping[str, str] | None = None,
) -> Indexer:
    """What is recorded of a language; `left_out` is uri -> reason."""
    return Indexer(
        language=language,
        tool=tool,
        tool_version=version,
        status=status,
        files_indexed=files,
        problem=problem,
        left_out=outcomes.losses(left_out or {}),
    )


def _ran(language: str, program: Program, ran: Ran, target: Path, wanted: Iterable[str]) -> Indexer:
    """The entry of an indexer that was run; an index that cannot be read is a failure like any other."""
    described: set[str] = set()
    problem = ran.problem
    if not problem:
        try:
            described = indexers.settle(target)
        except IndexFormatError:
            problem = "what it wrote is no SCIP index"
            target.unlink(missing_ok=True)
    missed = dict.fromkeys((uri for uri in wanted if uri not in described), _FAILED if problem else _UNDESCRIBED)
    return _entry(
        language,
        "failed" if problem else "indexed",
        tool=program.tool,
        version=program.version,
        files=len(described),
        problem=problem,
        left_out=missed | {item.uri: item.reason for item in ran.left_out},
    )


def _take(language: str, path: Path, target: Path, wanted: Iterable[str]) -> Indexer:
    """The entry of an index that was built elsewhere."""
    told = reader.read_metadata(path)
    paths = [path for group in reader.read_occurrences(path, language=language) for path in group.paths]
    # JSON becomes protobuf, of which single documents can be read.
    frames.write(target, json_dialects.frames(path) if json_dialects.is_json(path) else frames.frames(path))
    described = set(map(posixpath.normpath, paths))
    missed = dict.fromkeys((uri for uri in wanted if uri not in described), _UNDESCRIBED)
    return _entry(language, "supplied", tool=told.tool_name, version=told.tool_version, files=len(paths), left_out=missed)


def _supplied(settings: ScipSettings) -> dict[str, Path]:
    """Language -> index built elsewhere. Raises ConfigError for what is not `LANGUAGE=PATH` or does not exist."""
    found: dict[str, Path] = {}
    for item in settings.scip_files:
        language, _, path = item.partition("=")
        if not _LANGUAGE.fullmatch(language) or not path or language in found:
            raise ConfigError(f"`scip_files` has `{item}`.", hint="Write `LANGUAGE=PATH`, each language once.")
        found[language] = Path(path).expanduser()
        if not found[language].is_file():
            raise ConfigError(f"The SCIP index {path} of `scip_files` does not exist.", hint="Give the path of a file.")
    return dict(sorted(found.items()))


def _sources(root: Path) -> dict[str, tuple[str, bytes]]:
    """Uri -> language and bytes of every indexed file, by uri."""
    found: dict[str, tuple[str, bytes]] = {}
    for part in tables.read_parts(root, Sources):
        langs = part["lang"].cast(pa.string()).to_pylist()
        found.update(zip(part["uri"].to_pylist(), zip(langs, part["content"].to_pylist(), strict=True), strict=True))
    return dict(sorted(found.items()))


def _uses(settings: Settings) -> Mapping[str, str]:
    if settings.scip.scip == "off":
        return {}
    supplied = {f"{language}.scip": digest_file(path) for language, path in _supplied(settings.scip).items()}
    programs = {
        "python": indexers.python_program(settings.scip),
        "typescript": indexers.typescript_program(settings.scip),
    }
    named = {language: f"{program.tool} {program.version}" if program else "absent" for language, program in programs.items()}
    return supplied | named


INDEX_STAGE = Stage(scip_index, code_version="1", uses=_uses)
