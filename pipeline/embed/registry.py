"""Which embedder the settings mean.

Belongs here: the one list of embedders, and what holds for whoever uses one. Not here: their code.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from typing import Protocol, cast

from pipeline.config import EmbedSettings
from pipeline.embed.interface import Embedder, Spread
from pipeline.errors import IndexFormatError
from pipeline.installed import version


class _Room(Protocol):
    """What the module of an embedder has."""

    SPREAD: Spread
    LIBRARIES: Sequence[str]
    """Distributions whose versions can change a vector."""

    def load(self, settings: EmbedSettings) -> Embedder:
        """The embedder, ready to encode."""
        ...

    def digests_of(self, settings: EmbedSettings) -> tuple[str, str]:
        """`Embedder.digest` and `document_digest`, without loading the embedder."""
        ...


_ROOMS: Mapping[str, str] = {
    "static": "pipeline.embed.static",
    "sentence-transformers": "pipeline.embed.sentence_transformer",
    "onnx": "pipeline.embed.onnx",
    "http": "pipeline.embed.remote",
}


def _room(settings: EmbedSettings) -> _Room:
    # Imported when it is needed: a search by the embedded default does without the modules of a HTTP client.
    return cast("_Room", importlib.import_module(_ROOMS[settings.embedder]))


def load(settings: EmbedSettings) -> Embedder:
    """The embedder, ready to encode; one a process, while its files are what they were.

    Raises `ConfigError` when its files, its library or its settings are missing, and what it says of itself.
    """
    return _loaded(settings, embedder_digest(settings))


@functools.lru_cache(maxsize=2)
def _loaded(settings: EmbedSettings, digest: str) -> Embedder:
    return _room(settings).load(settings)


def embedder_digest(settings: EmbedSettings) -> str:
    """What `load(settings).digest` would be, without loading anything but the bytes of the weights; `http` asks its server."""
    return _room(settings).digests_of(settings)[0]


def spread_of(settings: EmbedSettings) -> Spread:
    """How many texts are handed to the embedder."""
    return _room(settings).SPREAD


def uses(settings: EmbedSettings) -> dict[str, str]:
    """What vectors depend on from outside: the embedder and the versions of its libraries, as a stage's key names them."""
    return {"embedder": embedder_digest(settings), **versions_of(_room(settings).LIBRARIES)}


def versions_of(distributions: Sequence[str]) -> dict[str, str]:
    """The version of each distribution; `none` for one that is not installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def require(embedder: Embedder, made_by: Mapping[str, object], whose: str) -> None:
    """Raise `IndexFormatError` unless the vectors of `whose` index, described by `embedder.json`, are of this embedder."""
    if embedder.digest == made_by["digest"]:
        return
    if embedder.name == made_by["name"]:
        what = f"by another state of {embedder.name}: other weights, prefixes or limits"
    else:
        what = f"by {made_by['name']}, not by the {embedder.name} at hand"
    raise IndexFormatError(
        f"The vectors of {whose} were made {what}.",
        hint="Set the embedder that built the index, or run `indexctl build` to make vectors by this one.",
    )
