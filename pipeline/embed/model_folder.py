"""What a model's folder says of itself, in the layout of sentence-transformers, read without any model runtime.

    config.json                           of the transformer: the most positions
    sentence_bert_config.json             how many tokens are read
    config_sentence_transformers.json     prompts: what is written before documents and before queries
    1_Pooling/config.json                 how token vectors become one
    tokenizer.json, model.safetensors, …

Belongs here: finding such a folder, its facts and its digest. Not here: running a model (`sentence_transformer`, `onnx`).
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import msgspec

from pipeline.config import EmbedSettings
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.files import digest_bytes, digest_file

_MAX_CONFIG_BYTES = 16 << 20
_UNREAD_FOLDERS = frozenset({"onnx", "openvino"})
"""The same weights for other runtimes."""
_UNREAD_SUFFIXES = frozenset({".md", ".png", ".jpg", ".h5", ".msgpack", ".ot", ".onnx"})
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?")


class Prefixes(msgspec.Struct, frozen=True):
    """What is written before a text."""

    document: str
    query: str


def find_folder(settings: EmbedSettings) -> Path:
    """The folder that `embed_model` means: a folder of this machine, or one from the hub.

    From the hub comes what lies in its cache; only with `embed_allow_download` is anything fetched, and not even then where
    `HF_HUB_OFFLINE` is set. Raises `ConfigError`.
    """
    if not settings.embed_model:
        raise ConfigError(f"The embedder `{settings.embedder}` needs a model.", hint="Set `embed_model` to its folder.")
    on_hub = settings.embedder == "sentence-transformers"
    return locate(settings.embed_model, "embed", on_hub=on_hub, allow_download=settings.embed_allow_download)


def locate(model: str, prefix: str, *, on_hub: bool = True, allow_download: bool = False) -> Path:
    """The folder that the setting `<prefix>_model` means, which is `model`; `on_hub` says whether it may name one there."""
    folder = Path(model).expanduser()
    if folder.is_absolute():
        if not folder.is_dir():
            raise ConfigError(f"`{prefix}_model` is {folder}, which is no folder.", hint="Set it to a model's folder.")
        return folder.resolve()
    # Never a folder below the working directory: that may be a repository that nobody vouches for.
    if not on_hub or not _HUB_NAME.fullmatch(model):
        raise ConfigError(
            f"`{prefix}_model` is {model}, which is no absolute path.", hint="Set it to the whole path of a folder."
        )
    return _from_hub(model, prefix, allow_download)


def _from_hub(model: str, prefix: str, allow_download: bool) -> Path:
    from huggingface_hub import snapshot_download

    name, _, revision = model.partition("@")
    try:
        found = snapshot_download(
            name,
            revision=revision or None,
            local_files_only=not allow_download,
            ignore_patterns=["onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.onnx"],
        )
    except (OSError, ValueError, RuntimeError) as error:
        # A download that failed is one of these too: the library raises them for whatever the network did.
        why = "it is not in the hub's cache" if not allow_download else f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(
            f"The model {model} is neither a folder nor to be had from the hub: {why}.",
            hint=f"Set `{prefix}_model` to a folder"
            + (f", or `{prefix}_allow_download = true` to fetch it." if not allow_download else ", or look at the network."),
        ) from error
    return Path(found)


def first_line(error: Exception) -> str:
    """The beginning of what an error says."""
    return (str(error).strip().splitlines() or [""])[0][:200]


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object of the folder; empty where there is no such file. Raises `IndexFormatError` for anything else."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise IndexFormatError(f"{path} is too large.", hint="Use another copy of the model.")
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IndexFormatError(f"{path} cannot be read: {error}.", hint="Use another copy of the model.") from error


def prefixes(folder: Path | None, settings: EmbedSettings) -> Prefixes:
    """What is written before documents and queries: as the settings say, else as the folder's prompts say."""
    found = read_config(folder, "config_sentence_transformers.json").get("prompts") if folder is not None else None
    prompts = {name: text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}
    document = next((text for name in ("document", "passage", "corpus") if (text := prompts.get(name))), "")
    given = settings.embed_document_prefix, settings.embed_query_prefix
    return Prefixes(
        document if given[0] is None else given[0],
        prompts.get("query", "") if given[1] is None else given[1],
    )


def max_tokens(folder: Path, settings: EmbedSettings, *, default: int | None = None) -> int | None:
    """How many tokens of a text are read; None where nothing says so. Raises `ConfigError` for more than the model can."""
    own = read_config(folder, "sentence_bert_config.json").get("max_seq_length")
    most = read_config(folder, "config.json").get("max_position_embeddings")
    if not settings.embed_max_tokens:
        return own if isinstance(own, int) and own > 0 else default
    if isinstance(most, int) and settings.embed_max_tokens > most:
        raise ConfigError(
            f"`embed_max_tokens` = {settings.embed_max_tokens}, and the model in {folder} has {most} positions.",
            hint=f"Use at most {most}.",
        )
    return settings.embed_max_tokens


def digest_folder(folder: Path) -> str:
    """Over names and bytes of all files that a run of the model may read. It is remembered while no file changes."""
    try:
        stamps = []
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if hidden or inside.parts[0] in _UNREAD_FOLDERS or path.suffix in _UNREAD_SUFFIXES or not path.is_file():
                continue
            stat = path.stat()
            stamps.append((inside.as_posix(), stat.st_size, stat.st_mtime_ns))
        return _digest_stamped(folder, tuple(stamps))
    except OSError as error:
        raise ConfigError(f"The model's file {error.filename} cannot be read: {error.strerror}.") from error


@functools.lru_cache(maxsize=8)
def _digest_stamped(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    lines = [f"{name}\0{digest_file(folder / name)}" for name, _, _ in stamps]
    return digest_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))


def digest_recipe(*parts: object) -> str:
    """The digest of an embedder that is made of these values."""
    return digest_bytes(msgspec.json.encode(parts, order="sorted"))
