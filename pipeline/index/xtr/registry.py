"""Which token encoder the settings mean.

Belongs here: the choice, and what holds for whoever uses an encoder. Not here: their code.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from typing import Protocol, cast

from pipeline.config import XtrSettings
from pipeline.errors import IndexFormatError
from pipeline.index.xtr.description import Maker
from pipeline.index.xtr.encoder import TokenEncoder
from pipeline.installed import version


class _Room(Protocol):
    """What the module of an encoder has."""

    LIBRARIES: Sequence[str]
    """Distributions whose versions can change a vector."""

    def load(self, settings: XtrSettings) -> TokenEncoder:
        """The encoder, ready to encode."""
        ...

    def digest_of(self, settings: XtrSettings) -> str:
        """`TokenEncoder.digest`, without loading the encoder."""
        ...


def _room(settings: XtrSettings) -> _Room:
    # Imported when it is needed: who does without the channel does without its libraries.
    name = "colbert" if settings.xtr_model else "minilm"
    return cast("_Room", importlib.import_module(f"pipeline.index.xtr.{name}"))


def load(settings: XtrSettings) -> TokenEncoder:
    """The encoder, ready to encode; one a process, while its files are what they were.

    Raises `ConfigError` when its files or its library are missing, and what it says of itself.
    """
    return _loaded(settings, digest_of(settings))


@functools.lru_cache(maxsize=1)
def _loaded(settings: XtrSettings, digest: str) -> TokenEncoder:
    return _room(settings).load(settings)


def digest_of(settings: XtrSettings) -> str:
    """What `load(settings).digest` would be, without loading anything but the bytes of the weights."""
    return _room(settings).digest_of(settings)


def in_processes(settings: XtrSettings) -> bool:
    """Whether worker processes may share the encoding; where not, the encoder has a device or all processors for itself."""
    return not settings.xtr_model


def uses(settings: XtrSettings) -> dict[str, str]:
    """What token vectors depend on from outside, as a stage's key names it."""
    return {"encoder": digest_of(settings), **{name: _version(name) for name in _room(settings).LIBRARIES}}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def require(encoder: TokenEncoder, made_by: Maker, whose: str) -> None:
    """Raise `IndexFormatError` unless the tokens of `whose` index are of this encoder."""
    if encoder.digest != made_by.digest:
        what = f"another state of {encoder.name}" if encoder.name == made_by.name else made_by.name
        raise IndexFormatError(
            f"The token vectors of {whose} were made by {what}, not by the {encoder.name} at hand.",
            hint="Set the `xtr_model` that built the index, or run `indexctl build` to make tokens by this one.",
        )
