"""Settling a stage: its outputs are looked up by their keys, or it is run; either way the refs point at them.

Belongs here: how a stage gets what it is given, what it settled on before among it, and what becomes of its result. Not here:
what an object is, and whether it is sound (`objects`); on what a result is built (`bases`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline import files
from pipeline.config import Settings
from pipeline.errors import IndexCorruptionError, IndexFormatError, RuntimeLifecycleError
from pipeline.stage import Artefact, Base, Earlier, External, Stage
from pipeline.store import bases, digests, readings
from pipeline.store.bases import Choice
from pipeline.store.layout import FORMAT, Repository, not_writable
from pipeline.store.locks import builder
from pipeline.store.objects import (
    OBJECT_FILE,
    ObjectRecord,
    find,
    list_files,
    load,
    object_path,
    read_record,
    sealed_digest,
    settled,
)
from pipeline.store.observed import Observed, recall, remember
from pipeline.workers import Runtime

if TYPE_CHECKING:
    # Loads pyarrow, which a search does without.
    from pipeline.schemas import Kind


def check_lineage(stage: str, inputs: Mapping[str, Artefact[Any]]) -> None:
    """Inputs must be made from the same things. Raises `RuntimeLifecycleError` naming the asset that they disagree on."""
    seen: dict[str, tuple[str, str]] = {}
    for name, artefact in inputs.items():
        for asset, key in artefact.lineage.items():
            other, known = seen.setdefault(asset, (name, key))
            if known != key:
                raise RuntimeLifecycleError(
                    f"`{stage}` cannot run: its inputs `{other}` and `{name}` were made from different states of `{asset}`.",
                    hint=f"Materialize `{asset}` and everything after it together, or run `indexctl build`.",
                )


@dataclass(frozen=True, slots=True)
class Settled:
    """The outputs of a stage by asset name, and the seconds that running it took (0 when all were reused)."""

    artefacts: Mapping[str, Artefact[Any]]
    seconds: float
    observed: Mapping[str, Observed] = field(default_factory=dict)
    """By asset name: what was seen when the object was built, now or before, where that is known."""


def settle(
    repository: Repository,
    stage: Stage,
    inputs: Mapping[str, Artefact[Any]],
    settings: Settings,
    *,
    externals: Mapping[str, External] | None = None,
    runtime: Runtime | None = None,
    full: bool = False,
) -> Settled:
    """Look the stage's outputs up by their keys, or run it; either way point the refs at them. `full`: on no base.

    A stage that is run is handed what it settled on before, where that was made by the same method. Raises
    `RuntimeLifecycleError` for inputs that disagree, and what the stage raises; then the store is as it was.
    """
    check_lineage(stage.name, inputs)
    work = _Work(stage, inputs, settings, externals or {})
    digests.recall(repository)
    readings.recall(repository)
    with builder(repository), _write_errors(repository):
        choices = {asset: _sound_choice(repository, work, kind, full=full) for asset, kind in work.kinds.items()}
        found = {asset: find(repository, work.kinds[asset], choice.key) for asset, choice in choices.items()}
        artefacts = {asset: artefact for asset, artefact in found.items() if artefact is not None}
        seconds = 0.0
        if len(artefacts) < len(choices):
            seen: dict[str, Any] = {}
            started = time.perf_counter()
            earlier = _earlier(repository, work)
            _run(repository, work, replace(runtime or Runtime(), observe=seen.update, earlier=earlier), choices)
            seconds = time.perf_counter() - started
            # What another output of this stage already had stays as reused: equal keys, equal bytes.
            for asset in choices.keys() - artefacts.keys():
                key = choices[asset].key
                artefacts[asset] = replace(load(repository, work.kinds[asset], key), reused=False)
                if seen:
                    observed = Observed(key=key, at=round(time.time(), 3), seconds=round(seconds, 6), facts=seen)
                    remember(repository, asset, observed)
        for asset, choice in choices.items():
            bases.remember(repository, asset, choice)
            _refer(repository, asset, choice.key)
    known = {asset: recall(repository, asset, choice.key) for asset, choice in choices.items()}
    return Settled(artefacts, seconds, {asset: observed for asset, observed in known.items() if observed is not None})


def _refer(repository: Repository, asset: str, key: str) -> None:
    """Point the asset's ref at an object. One that points there stays as it is."""
    path, line = repository.refs / asset, f"{key}\n".encode()
    with contextlib.suppress(OSError):
        if path.read_bytes() == line:
            return
    files.write_own_file(path, line)


class _Work:
    """A stage with what it is given; `kinds` and `methods` of its outputs by asset."""

    def __init__(
        self,
        stage: Stage,
        inputs: Mapping[str, Artefact[Any]],
        settings: Settings,
        externals: Mapping[str, External],
    ) -> None:
        self.stage, self.inputs, self.settings, self.externals = stage, inputs, settings, externals
        self.input_keys = {asset: artefact.key for asset, artefact in inputs.items()}
        self.kinds = {kind.asset: kind for kind in stage.outputs.values()}
        methods = {asset: artefact.method for asset, artefact in inputs.items()}
        self.methods = {asset: stage.method(kind, settings, methods) for asset, kind in self.kinds.items()}

    def choice(self, repository: Repository, kind: type[Kind], *, full: bool) -> Choice:
        """The key of one output, and on what it is built."""
        method = self.methods[kind.asset]
        return bases.choose(repository, self.stage, kind, self.settings, self.input_keys, self.externals, method, full=full)


def _sound_choice(repository: Repository, work: _Work, kind: type[Kind], *, full: bool) -> Choice:
    """The key of one output, and a base that can be read. A damaged one is set aside, and another chosen."""
    while True:
        choice = work.choice(repository, kind, full=full)
        needed = choice.base and not object_path(repository, kind.asset, choice.key).exists()
        if not needed or find(repository, kind, choice.base) is not None:
            return choice


def _earlier(repository: Repository, work: _Work) -> Earlier | None:
    """What the stage settled on before, and from what; None where anything of it is gone, or made by another method."""
    made: dict[str, Artefact[Any]] = {}
    for asset, kind in work.kinds.items():
        try:
            made[asset] = settled(repository, kind)
        except (IndexCorruptionError, IndexFormatError, RuntimeLifecycleError):
            return None
        if made[asset].method != work.methods[asset]:
            return None
    inputs = _made_from(repository, work.stage, list(made.values()))
    return None if inputs is None else Earlier(made, inputs)


def _made_from(repository: Repository, stage: Stage, made: Sequence[Artefact[Any]]) -> Mapping[str, Artefact[Any]] | None:
    """The inputs that all of these outputs were made from; None where one is gone, or where they were made apart."""
    recipes = [read_record(artefact).recipe["inputs"] for artefact in made]
    if any(recipe != recipes[0] for recipe in recipes):
        return None
    found: dict[str, Artefact[Any]] = {}
    for kind in stage.inputs.values():
        try:
            found[kind.asset] = load(repository, kind, recipes[0][kind.asset])
        except (IndexCorruptionError, IndexFormatError, KeyError):
            return None
    return found


def _base(repository: Repository, work: _Work, choices: Mapping[str, Choice]) -> Base[Any]:
    """What the stage builds on, with what that was made from, as far as the store has it."""
    for kind in work.stage.bases.values():
        if key := choices[kind.asset].base:
            artefact = load(repository, kind, key)
            return Base(artefact, _made_from(repository, work.stage, [artefact]) or {})
    return Base()


def _run(repository: Repository, work: _Work, runtime: Runtime, choices: Mapping[str, Choice]) -> None:
    stage, inputs = work.stage, work.inputs
    keys = {asset: choice.key for asset, choice in choices.items()}
    lineage = {asset: key for artefact in inputs.values() for asset, key in artefact.lineage.items()}
    base = _base(repository, work, choices)
    with ExitStack() as commits:
        folders = {
            asset: commits.enter_context(files.directory_commit(object_path(repository, asset, key)))
            for asset, key in keys.items()
        }
        facts = dict(stage.call(inputs, work.settings, work.externals, runtime, folders, base))
        for asset, kind in work.kinds.items():
            folder = folders[asset]
            record = ObjectRecord(
                format=FORMAT,
                asset=asset,
                schema=kind.tag(),
                key=keys[asset],
                code_version=stage.code_version,
                method=work.methods[asset],
                recipe=stage.recipe(kind, work.settings, work.input_keys, work.externals),
                base=choices[asset].base,
                lineage={**lineage, **keys},
                facts=facts,
                # Digests are known by inode, which survives the rename: links to what is there already are not read.
                files=list_files(folder),
            )
            record = msgspec.structs.replace(record, digest=sealed_digest(record))
            (folder / OBJECT_FILE).write_bytes(files.canonical_json(msgspec.to_builtins(record)))


@contextlib.contextmanager
def _write_errors(repository: Repository) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise not_writable(repository.path, error) from error
