"""Which embedder the settings mean.

Belongs here: the one list of embedders. Not here: their code.
"""

from __future__ import annotations

from pipeline.config import EmbedSettings
from pipeline.embed import static
from pipeline.embed.interface import Embedder


def load(settings: EmbedSettings) -> Embedder:
    """The embedder, ready to encode. Raises `ConfigError` when its files are missing."""
    match settings.embedder:
        case "static":
            return static.StaticEmbedder()


def embedder_digest(settings: EmbedSettings) -> str:
    """What `load(settings).digest` would be, without loading anything but the bytes of the weights."""
    match settings.embedder:
        case "static":
            return static.digest_of(static.package_folder())
