"""Transformers by the library sentence-transformers: CodeRankEmbed, MiniLM, any folder in its layout.

The library pools and truncates as the folder says. Weights are read as safetensors and computed with in 32 bits, so that an
index that was made on a GPU is searched on a processor within `TOLERANCE`'s order of magnitude. Nothing is fetched and no code
of a model is run, unless a setting says so.

Belongs here: that library behind our interface. Not here: which folder, its prompts and its digest (`model_folder`).
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import EmbedSettings
from pipeline.embed import model_folder
from pipeline.embed.interface import Spread, Vectors, unit_rows, valid_text
from pipeline.errors import ConfigError, IndexFormatError

ALGORITHM = "1"
"""Rises whenever any text's vector changes; part of the embedder's digest."""
LIBRARIES = ("sentence-transformers", "torch", "transformers", "tokenizers")
# One process: it has the GPU, or all processors by threads of its own.
SPREAD = Spread(texts=512, cost=500.0, processes=False, keep_after=4096)


def load(settings: EmbedSettings) -> SentenceTransformerEmbedder:
    """The embedder, ready to encode. Raises what the class says."""
    return SentenceTransformerEmbedder(settings)


def digests_of(settings: EmbedSettings) -> tuple[str, str]:
    """Digest of the embedder, and that of what its documents depend on. Loads no library. Raises `ConfigError`."""
    return _digests(model_folder.find_folder(settings), settings)


def _digests(folder: Path, settings: EmbedSettings) -> tuple[str, str]:
    weights = model_folder.digest_folder(folder)
    written = model_folder.prefixes(folder, settings)
    document = model_folder.digest_recipe(
        "sentence-transformers", ALGORITHM, weights, written.document, model_folder.max_tokens(folder, settings)
    )
    return model_folder.digest_recipe(document, written.query), document


class SentenceTransformerEmbedder:
    """An `Embedder` over a folder; may be used from several threads, which take turns.

    Raises `ConfigError` when the library, the folder or the device is missing, or when the model needs code of its own;
    `IndexFormatError` for a folder that cannot be loaded.
    """

    def __init__(self, settings: EmbedSettings) -> None:
        folder = model_folder.find_folder(settings)
        self._digest, self._document_digest = _digests(folder, settings)
        self._prefixes = model_folder.prefixes(folder, settings)
        self._batch_size = settings.embed_batch_size
        self._name = folder.name if Path(settings.embed_model).expanduser().is_absolute() else settings.embed_model
        self._model = open_model(
            "SentenceTransformer",
            folder,
            "embed",
            extra="sentence-transformers",
            device=settings.embed_device,
            trusted=settings.embed_trust_remote_code,
            download=settings.embed_allow_download,
        )
        limit = model_folder.max_tokens(folder, settings)
        if limit is not None:
            self._model.max_seq_length = limit
        self._lock = threading.Lock()
        self._dimension = int(self._encode(["dimension"], query=False).shape[1])
        if settings.embed_dimension not in (0, self._dimension):
            raise ConfigError(
                f"{self._name} has {self._dimension} dimensions, and `embed_dimension` is {settings.embed_dimension}.",
                hint="Set `embed_dimension` to 0, or use another model.",
            )

    @property
    def name(self) -> str:
        """`sentence-transformers/FOLDER`, or the model's name on the hub."""
        return f"sentence-transformers/{self._name}"

    @property
    def dimension(self) -> int:
        """As the model says."""
        return self._dimension

    @property
    def digest(self) -> str:
        """Of the folder's files, both prefixes and the number of tokens read."""
        return self._digest

    @property
    def document_digest(self) -> str:
        """The same without the prefix of queries."""
        return self._document_digest

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents: float32 [n, d], unit rows; in different batches the same within `TOLERANCE`."""
        return self._encode(texts, query=False)

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Vectors of queries, with their own prefix and, where a model has one, their own route."""
        return self._encode(queries, query=True)

    def _encode(self, texts: Sequence[str], *, query: bool) -> Vectors:
        if not texts:
            return np.empty((0, self._dimension), np.float32)
        # The library sorts by length, so that a batch holds texts of about one length.
        encode = self._model.encode_query if query else self._model.encode_document
        prefix = self._prefixes.query if query else self._prefixes.document
        with self._lock:
            rows = encode(
                [valid_text(text) for text in texts],
                prompt=prefix,
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return unit_rows(rows, f"The model {self._name}")


def open_model(library_class: str, folder: Path, prefix: str, *, extra: str, device: str, trusted: bool, download: bool) -> Any:
    """A model of one of the library's classes. `prefix` is that of the settings that mean it, `extra` installs the library.

    Raises `ConfigError` and `IndexFormatError` as `SentenceTransformerEmbedder` does.
    """
    install = f"Install it: `pip install 'codeintel-pipeline[{extra}]'`."
    if importlib.util.find_spec("sentence_transformers") is None:
        raise ConfigError("The library sentence-transformers is not installed.", hint=install)
    import sentence_transformers
    import torch
    from transformers.utils import logging

    # It would write over a command's own output.
    logging.disable_progress_bar()
    make = getattr(sentence_transformers, library_class, None)
    if make is None or not hasattr(make, "encode_document"):
        raise ConfigError("The library sentence-transformers is older than 5.", hint=install)
    try:
        return make(
            str(folder),
            device=_device(torch, device, f"{prefix}_device"),
            trust_remote_code=trusted,
            # Code of a model may lie in another repository of the hub.
            local_files_only=not (trusted and download),
            # Weights in pickles are refused: unpickling runs code.
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except ConfigError:
        raise
    except Exception as error:  # Whatever a folder can be wrong in, three libraries say it in their own classes.
        reason = model_folder.first_line(error)
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"The model in {folder} brings Python code of its own, which is not run.",
                hint=f"Read the code; then set `{prefix}_trust_remote_code = true` in the store's settings to run it.",
            ) from error
        raise IndexFormatError(
            f"The model in {folder} cannot be loaded: {type(error).__name__}: {reason}.",
            hint=f"`{prefix}_model` must be a whole sentence-transformers folder with weights in safetensors.",
        ) from error


def _device(torch: Any, wanted: str, setting: str) -> str:
    there = bool(torch.cuda.is_available())
    if wanted == "cuda" and not there:
        raise ConfigError(f"`{setting}` is cuda, and PyTorch sees no GPU.", hint="Use `auto` or `cpu`.")
    return "cuda" if there and wanted != "cpu" else "cpu"
