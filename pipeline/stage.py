"""Stages: plain functions whose signature is their data flow.

    def build_chunks(source: Artefact[Snapshot], ast: Artefact[AstNodes], definitions: Artefact[Definitions],
                     settings: ChunkSettings, runtime: Runtime, out: Output[Chunks]) -> Facts: ...

    CHUNKS = Stage(build_chunks, code_version="1", uses=lambda settings: {"tree-sitter": version("tree-sitter")})

The kinds of parameters: `Artefact[K]` an input; a `Section` the settings that the stage reads; `Output[K]` a directory to write
into (several for a stage with several outputs); `Base[K]` an earlier result of its own that it builds on; `Runtime` what does
not change the result; anything else with a `digest` is an external input. The key of a result is a hash of all of it but
`Runtime`: equal keys mean equal bytes.

Belongs here: what a stage is and how its key is made. Not here: storing results (`store`), or the list of stages (`stages`).
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

import msgspec

from pipeline.artefacts import NO_BASE, Artefact, Base, Earlier, Facts, Output
from pipeline.config import Section, Settings
from pipeline.workers import Runtime

if TYPE_CHECKING:
    # Loads pyarrow, which a search does without.
    from pipeline.schemas import Kind

__all__ = ["NO_BASE", "Artefact", "Base", "Earlier", "External", "Facts", "Output", "Stage"]


@runtime_checkable
class External(Protocol):
    """An input from outside the graph, for example a scanned file tree."""

    @property
    def digest(self) -> str:
        """Equal digests mean equal inputs."""
        ...


def _uses_nothing(settings: Settings) -> Mapping[str, str]:
    return {}


def _always(settings: Settings) -> bool:
    return True


@dataclass(frozen=True)
class Stage:
    """A stage function with its version. `uses` names the libraries, grammars and weights that the result depends on."""

    function: Callable[..., Facts]
    code_version: str
    uses: Callable[[Settings], Mapping[str, str]] = _uses_nothing
    based: Callable[[Settings], bool] = _always
    """Whether a stage that takes a base builds on one with these settings; where not, its key has no history."""

    @cached_property
    def parameters(self) -> dict[str, tuple[type[Any], type[Kind] | None]]:
        """Parameter name -> (what it is, the artefact kind if it has one)."""
        hints = get_type_hints(self.function)
        found: dict[str, tuple[type[Any], type[Kind] | None]] = {}
        for name in inspect.signature(self.function).parameters:
            hint = hints[name]
            origin = get_origin(hint)
            found[name] = (origin, get_args(hint)[0]) if origin in (Artefact, Output, Base) else (hint, None)
        return found

    @cached_property
    def inputs(self) -> dict[str, type[Kind]]:
        """Parameter name -> kind of each input artefact."""
        return {name: kind for name, (what, kind) in self.parameters.items() if what is Artefact and kind}

    @cached_property
    def outputs(self) -> dict[str, type[Kind]]:
        """Parameter name -> kind of each output."""
        return {name: kind for name, (what, kind) in self.parameters.items() if what is Output and kind}

    @cached_property
    def bases(self) -> dict[str, type[Kind]]:
        """Parameter name -> kind of each earlier result that is built on."""
        return {name: kind for name, (what, kind) in self.parameters.items() if what is Base and kind}

    @cached_property
    def sections(self) -> dict[str, type[Section]]:
        """Parameter name -> settings section."""
        return {name: what for name, (what, _) in self.parameters.items() if issubclass(what, Section)}

    @cached_property
    def externals(self) -> tuple[str, ...]:
        """Names of the parameters that come from outside the graph."""
        known = {*self.inputs, *self.outputs, *self.bases, *self.sections}
        return tuple(name for name, (what, _) in self.parameters.items() if name not in known and what is not Runtime)

    @property
    def name(self) -> str:
        """The stage's name: that of its function."""
        return self.function.__name__

    @property
    def assets(self) -> tuple[str, ...]:
        """Names of the assets that it makes."""
        return tuple(kind.asset for kind in self.outputs.values())

    def recipe(
        self, kind: type[Kind], settings: Settings, inputs: Mapping[str, str], externals: Mapping[str, External]
    ) -> dict[str, Any]:
        """All that one output is a function of but its base, as JSON values. `inputs` maps asset names to keys."""
        outside = {name: externals[name].digest for name in self.externals}
        return {**self._from_within(kind, settings, inputs), "external": outside}

    def key(
        self,
        kind: type[Kind],
        settings: Settings,
        inputs: Mapping[str, str],
        externals: Mapping[str, External],
        base: str = NO_BASE,
    ) -> str:
        """The key of one output, 32 hex digits: the hash of its recipe, and of the key of its `base` where it has one."""
        recipe = self.recipe(kind, settings, inputs, externals)
        return key_of(recipe if base == NO_BASE else {**recipe, "base": base})

    def method(self, kind: type[Kind], settings: Settings, methods: Mapping[str, str]) -> str:
        """How one output is made, 32 hex digits: its recipe with the methods of its inputs in place of their keys, and without
        what comes from outside. `methods` by asset."""
        return key_of(self._from_within(kind, settings, methods))

    def _from_within(self, kind: type[Kind], settings: Settings, inputs: Mapping[str, str]) -> dict[str, Any]:
        """A recipe without what comes from outside of the graph. `inputs` maps asset names to what stands for them."""
        return {
            "asset": kind.tag(),
            "code_version": self.code_version,
            "settings": {what.__name__: settings.section(what).keyed() for what in self.sections.values()},
            "inputs": {needed.asset: inputs[needed.asset] for needed in self.inputs.values()},
            "uses": dict(self.uses(settings)),
        }

    def call(
        self,
        inputs: Mapping[str, Artefact[Any]],
        settings: Settings,
        externals: Mapping[str, External],
        runtime: Runtime,
        outputs: Mapping[str, Path],
        base: Base[Any] | None = None,
    ) -> Facts:
        """Run the function. `inputs` by asset name, `externals` by parameter name, `outputs` (directories) by asset name."""
        arguments: dict[str, Any] = {name: inputs[kind.asset] for name, kind in self.inputs.items()}
        arguments |= dict.fromkeys(self.bases, base or Base())
        arguments |= {name: settings.section(what) for name, what in self.sections.items()}
        arguments |= {name: externals[name] for name in self.externals}
        arguments |= {name: Output(outputs[kind.asset]) for name, kind in self.outputs.items()}
        arguments |= {name: runtime for name, (what, _) in self.parameters.items() if what is Runtime}
        return self.function(**arguments)


def key_of(recipe: Mapping[str, Any]) -> str:
    return hashlib.blake2b(msgspec.json.encode(recipe, order="sorted"), digest_size=16).hexdigest()
