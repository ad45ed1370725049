"""The stage `scip_index`: indexers are run, indexes that were made before kept, or such that were built elsewhere taken.

Belongs here: which languages are indexed by what and when, and what is recorded of it. Not here: running a program
(`indexers`), which files an index was made of (`covered`), what the indexes say (`scip_tables`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa

from pipeline import tables
from pipeline.config import ScipSettings, Settings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.files import digest_file, link_or_copy
from pipeline.schemas import ScipIndex, Snapshot, Sources
from pipeline.stage import Artefact, Base, Facts, Output, Stage
from pipeline.structure.scip import covered, documents, frames, indexers, json_dialects, outcomes, reader
from pipeline.structure.scip.indexers import Program, Ran
from pipeline.structure.scip.outcomes import Indexer
from pipeline.workers import Runtime

_UNDESCRIBED = documents.NOTHING
_ABSENT = "the indexer is not installed"
_FAILED = "the indexer failed"
_RUN = ("indexed", "failed")
"""What became of an indexer that was run."""
_LANGUAGE = re.compile(r"[a-z][a-z0-9-]{0,31}")


def scip_index(
    source: Artefact[Snapshot], base: Base[ScipIndex], settings: ScipSettings, runtime: Runtime, out: Output[ScipIndex]
) -> Facts:
    """Keep the indexes of `base` that are still good enough, run the indexers that there are for other languages, or take what
    was built elsewhere.

    A failed indexer is recorded in `scip.json` and is no error; it is kept, too, for it would most likely fail again. Raises
    ConfigError and IndexFormatError for a supplied index that cannot be read. Facts: `indexers` (language -> status),
    `files_indexed`, `left_out` (files), `moved` (files that changed, came or went since the indexes were made), and `base`:
    the key of what all indexes were kept from, or None where one was made.
    """
    folder = out.path / ScipIndex.DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    if settings.scip == "off":
        outcomes.write(out.path, [_entry("", "off")])
        return _facts([_entry("", "off")], None)
    supplied = _supplied(settings)
    listed = covered.listed(source.path)
    programs = {language: find(settings) for language, (find, _) in _INDEXERS.items() if language not in supplied}
    kept = _kept(base, programs, listed, settings, out.path)
    work = _Work(source, listed, settings, out.path)
    entries = [*kept, *(work.take(language, path) for language, path in supplied.items())]
    done = {entry.language for entry in entries}
    made = [entry for language, program in programs.items() if language not in done and (entry := work.run(language, program))]
    entries = sorted([*entries, *made], key=lambda entry: entry.language)
    outcomes.write(out.path, entries)
    return _facts(entries, base.key if kept and not any(entry.status in _RUN for entry in made) else None)


def _facts(entries: Sequence[Indexer], base: str | None) -> Facts:
    return {
        "indexers": {entry.language or "all": entry.status for entry in entries},
        "files_indexed": sum(entry.files_indexed for entry in entries),
        "left_out": sum(len(entry.lost) for entry in entries),
        "moved": sum(entry.moved for entry in entries),
        "base": base,
    }


_INDEXERS: Mapping[str, tuple[Callable[[ScipSettings], Program | None], Callable[..., Ran]]] = {
    "python": (lambda settings: indexers.python_program(settings), lambda *run: indexers.index_python(*run)),
    "typescript": (lambda settings: indexers.typescript_program(settings), lambda *run: indexers.index_typescript(*run)),
}
"""Language -> how its indexer is found, and run; both are looked up when they are called."""


def _kept(
    base: Base[ScipIndex], programs: Mapping[str, Program | None], listed: pa.Table, settings: ScipSettings, root: Path
) -> list[Indexer]:
    """The entries of the base that stay, with their indexes linked into `root`: those of indexers that were run, until too
    many files are no longer as they were."""
    if base.artefact is None:
        return []
    found: list[Indexer] = []
    for entry in outcomes.read(base.artefact.path):
        if programs.get(entry.language) is None or entry.status not in _RUN:
            continue
        now = covered.of_languages(listed, indexers.languages(entry.language))
        moved = covered.compare(covered.read(base.artefact.path, entry.language), now)
        if not now.num_rows or (settings.scip_refresh == "stale" and moved.share > settings.scip_stale_share):
            continue
        for path in (covered.path_in(base.artefact.path, entry.language), _index_in(base.artefact.path, entry.language)):
            if path.is_file():
                link_or_copy(path, root / ScipIndex.DIRECTORY / path.name)
        other = {*moved.changed, *moved.gone}
        found.append(
            msgspec.structs.replace(
                entry,
                left_out=tuple(loss for loss in entry.left_out if loss.uri not in other),
                changed=outcomes.losses(
                    dict.fromkeys(moved.changed, outcomes.CHANGED) | dict.fromkeys(moved.added, outcomes.ADDED)
                ),
                gone=len(moved.gone),
            )
        )
    return found


def _index_in(root: Path, language: str) -> Path:
    return root / ScipIndex.DIRECTORY / f"{language}.scip"


class _Work:
    """What indexers are given; the bytes of files are read when a first one wants them."""

    def __init__(self, source: Artefact[Snapshot], listed: pa.Table, settings: ScipSettings, root: Path) -> None:
        self.source, self.listed, self.settings, self.root = source, listed, settings, root

    @cached_property
    def sources(self) -> dict[str, tuple[str, bytes]]:
        """Uri -> language and bytes of every indexed file, by uri."""
        found: dict[str, tuple[str, bytes]] = {}
        for part in tables.read_parts(self.source.path, Sources):
            langs = part["lang"].cast(pa.string()).to_pylist()
            found.update(zip(part["uri"].to_pylist(), zip(langs, part["content"].to_pylist(), strict=True), strict=True))
        return dict(sorted(found.items()))

    def run(self, language: str, program: Program | None) -> Indexer | None:
        """The entry of an indexer; None where the snapshot has no files for it."""
        given = covered.of_languages(self.listed, indexers.languages(language))
        if not given.num_rows:
            return None
        wanted = sorted(given["uri"].to_pylist())
        if program is None:
            return _entry(language, "absent", problem=_ABSENT, left_out=dict.fromkeys(wanted, _ABSENT))
        fits = indexers.is_typescript_input if language == "typescript" else lambda uri, lang: lang == language
        sources = {uri: content for uri, (lang, content) in self.sources.items() if fits(uri, lang)}
        target = _index_in(self.root, language)
        ran = _INDEXERS[language][1](program, sources, target, float(self.settings.scip_timeout))
        entry, contents = _ran(language, program, ran, target, wanted)
        covered.write(self.root, language, given, contents)
        return msgspec.structs.replace(entry, made_from=self.source.digest, files_given=len(wanted))

    def take(self, language: str, path: Path) -> Indexer:
        """The entry of an index that was built elsewhere."""
        target = _index_in(self.root, language)
        told = reader.read_metadata(path)
        # All of it is decoded: whatever is wrong with it is to be said now.
        for _ in reader.read_occurrences(path, language=language):
            pass
        # JSON becomes protobuf, of which single documents can be read.
        frames.write(target, json_dialects.frames(path) if json_dialects.is_json(path) else frames.frames(path))
        contents = reader.read_contents(target, language=language)
        # Of what state of the files it was made nobody knows: whether a document fits is seen when it is read.
        covered.write(self.root, language, self.listed.slice(0, 0), contents)
        described = set(map(posixpath.normpath, contents.paths))
        wanted = covered.of_languages(self.listed, indexers.languages(language))["uri"].to_pylist()
        missed = dict.fromkeys((uri for uri in wanted if uri not in described), _UNDESCRIBED)
        return _entry(
            language, "supplied", tool=told.tool_name, version=told.tool_version, files=len(contents.paths), left_out=missed
        )


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


def _ran(
    language: str, program: Program, ran: Ran, target: Path, wanted: Iterable[str]
) -> tuple[Indexer, reader.Contents | None]:
    """The entry of an indexer that was run, and what its index has; one that cannot be read is a failure like any other."""
    described: set[str] = set()
    contents = None
    problem = ran.problem
    if not problem:
        try:
            described = indexers.settle(target)
            contents = reader.read_contents(target, language=language)
        except IndexFormatError:
            problem = "what it wrote is no SCIP index"
            target.unlink(missing_ok=True)
    missed = dict.fromkeys((uri for uri in wanted if uri not in described), _FAILED if problem else _UNDESCRIBED)
    entry = _entry(
        language,
        "failed" if problem else "indexed",
        tool=program.tool,
        version=program.version,
        files=len(described),
        problem=problem,
        left_out=missed | {item.uri: item.reason for item in ran.left_out},
    )
    return entry, contents


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


def _uses(settings: Settings) -> Mapping[str, str]:
    if settings.scip.scip == "off":
        return {}
    supplied = {f"{language}.scip": _digest_of(path) for language, path in _supplied(settings.scip).items()}
    programs = {
        "python": indexers.python_program(settings.scip),
        "typescript": indexers.typescript_program(settings.scip),
    }
    named = {language: f"{program.tool} {program.version}" if program else "absent" for language, program in programs.items()}
    return supplied | named


def _digest_of(path: Path) -> str:
    """The digest of a supplied index, which is asked for many times in a build."""
    status = path.stat()
    return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: Path, inode: int, size: int, mtime_ns: int) -> str:
    return digest_file(path)


def _keeps(settings: Settings) -> bool:
    """Whether an index may be kept: where none is run, what is built is a function of the files alone."""
    own = settings.scip
    if own.scip == "off" or own.scip_refresh == "always":
        return False
    return any(find(own) is not None for language, (find, _) in _INDEXERS.items() if language not in _supplied(own))


INDEX_STAGE = Stage(scip_index, code_version="2", uses=_uses, based=_keeps)
