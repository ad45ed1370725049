"""SPLADE by the library sentence-transformers: texts become weights of terms, terms among them that the text lacks.

Models are folders in the layout of the library's `SparseEncoder`, or plain masked language models, which are pooled as
SPLADE-max does. Weights are read as safetensors and computed with in 32 bits. Nothing is fetched and no code of a model is
run, unless a setting says so. What a text weighs is a function of the text where each is encoded alone, as on a processor by
default; in batches, an impact can differ by a unit.

Belongs here: that library behind our interface. Not here: what becomes of the weights (`postings`, `impact_index`), the rules
for folders (`embed.model_folder`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.config import SpladeSettings
from pipeline.embed import model_folder
from pipeline.embed.interface import valid_text
from pipeline.embed.sentence_transformer import open_model
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.index.splade.impact_index import SparseQuery, sparse_query
from pipeline.index.splade.postings import MOST_TERMS, DocumentRows, document_rows, quantise

ALGORITHM = "1"
"""Rises whenever any text's weights change; part of the encoder's digest."""

_SPARSE_MODULES = ("SpladePooling", "SparseAutoEncoder", "SparseStaticEmbedding")
_GPU_BATCH = 16
_BLOCK = 64
"""Texts whose weights are in memory at once, each over the whole vocabulary."""


class SparseEncoder(Protocol):
    """Texts in, weights of terms out."""

    @property
    def name(self) -> str:
        """Which encoder this is, for people."""
        ...

    @property
    def digest(self) -> str:
        """Equal digests mean that queries and documents fit each other: of the weights, the algorithm, the limit of tokens."""
        ...

    @property
    def vocabulary(self) -> int:
        """Terms are numbers below it."""
        ...

    def encode(self, texts: Sequence[str]) -> Iterator[DocumentRows]:
        """The heaviest terms of documents, block by block in order."""
        ...

    def encode_query(self, query: str, most: int) -> SparseQuery:
        """The `most` heaviest terms of a query."""
        ...

    def tokens(self, terms: Sequence[int]) -> list[str]:
        """What terms are called."""
        ...


def encoder_digest(settings: SpladeSettings) -> str:
    """What `load(settings).digest` would be, loading no library. Raises `ConfigError`."""
    folder = _folder(settings)
    weights = model_folder.digest_folder(folder)
    return model_folder.digest_recipe("splade", ALGORITHM, weights, settings.splade_max_tokens)


def document_digest(settings: SpladeSettings) -> str:
    """Of all that the rows of documents depend on."""
    return model_folder.digest_recipe(encoder_digest(settings), settings.splade_document_terms, settings.splade_bits)


def load(settings: SpladeSettings) -> SparseEncoder:
    """The encoder, ready; one a process, while its files are what they were. Raises what `SpladeEncoder` says."""
    return _loaded(settings, encoder_digest(settings))


@functools.lru_cache(maxsize=1)
def _loaded(settings: SpladeSettings, digest: str) -> SparseEncoder:
    return SpladeEncoder(settings, digest)


class _Weights(NamedTuple):
    """What is not 0: the number of the text int64 [p], the term int32 [p] and its weight float32 [p]; by text and then term."""

    texts: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]
    vocabulary: int


class SpladeEncoder:
    """A `SparseEncoder` over a folder; may be used from several threads, which take turns.

    Raises `ConfigError` when the library, the folder or the device is missing, when the model needs code of its own or is no
    sparse encoder; `IndexFormatError` for a folder that cannot be loaded, and for weights that no index can hold.
    """

    def __init__(self, settings: SpladeSettings, digest: str) -> None:
        folder = _folder(settings)
        _require_sparse(folder)
        self._settings = settings
        self._digest = digest
        self._name = folder.name if Path(settings.splade_model).expanduser().is_absolute() else settings.splade_model
        self._model = open_model(
            "SparseEncoder",
            folder,
            "splade",
            extra="splade",
            device=settings.splade_device,
            trusted=settings.splade_trust_remote_code,
            download=settings.splade_allow_download,
        )
        if self._model.similarity_fn_name != "dot":
            raise ConfigError(
                f"The model in {folder} compares by {self._model.similarity_fn_name}, not by inner products.",
                hint="Use a SPLADE model.",
            )
        if settings.splade_max_tokens:
            self._model.max_seq_length = _checked_limit(folder, settings.splade_max_tokens)
        on_gpu = str(self._model.device) != "cpu"
        self._batch_size = settings.splade_batch_size or (_GPU_BATCH if on_gpu else 1)
        self._lock = threading.Lock()
        self._vocabulary = self._weights(["vocabulary"], query=False).vocabulary
        if self._vocabulary > MOST_TERMS:
            raise ConfigError(
                f"{self.name} has {self._vocabulary:,} terms, more than {MOST_TERMS:,}.", hint="Use another model."
            )

    @property
    def name(self) -> str:
        """`splade/FOLDER`, or the model's name on the hub."""
        return f"splade/{self._name}"

    @property
    def digest(self) -> str:
        """Of the folder's files and the number of tokens read."""
        return self._digest

    @property
    def vocabulary(self) -> int:
        """The model's number of terms."""
        return self._vocabulary

    def encode(self, texts: Sequence[str]) -> Iterator[DocumentRows]:
        """The `splade_document_terms` heaviest terms of each document, ties by term, as impacts."""
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            weights = self._weights(block, query=False)
            impacts = quantise(weights.values, self._settings.splade_bits)
            yield document_rows(weights.texts, weights.terms, impacts, len(block), self._settings.splade_document_terms)

    def encode_query(self, query: str, most: int) -> SparseQuery:
        """The `most` heaviest terms of a query, by the model's own way for queries where it has one."""
        weights = self._weights([query], query=True)
        return sparse_query(weights.terms, weights.values, most)

    def tokens(self, terms: Sequence[int]) -> list[str]:
        """As the tokenizer writes them; `#NUMBER` where the model's terms are no tokens."""
        tokenizer = getattr(self._model, "tokenizer", None)
        if tokenizer is None or self._vocabulary < len(tokenizer):
            return [f"#{term}" for term in terms]
        return [str(token) for token in tokenizer.convert_ids_to_tokens(list(terms))]

    def _weights(self, texts: Sequence[str], *, query: bool) -> _Weights:
        """The weights of texts, checked."""
        encode = self._model.encode_query if query else self._model.encode_document
        with self._lock:
            found = encode(
                [valid_text(text) for text in texts],
                batch_size=self._batch_size,
                show_progress_bar=False,
                convert_to_sparse_tensor=True,
                save_to_cpu=True,
            )
        found = found.coalesce()
        texts_of, terms = found.indices().numpy()
        weights = _Weights(texts_of, terms.astype(np.int32), found.values().numpy(), int(found.shape[1]))
        if not (np.isfinite(weights.values) & (weights.values >= 0)).all():
            raise IndexFormatError(
                f"The model {self._name} gave a weight that is negative or not finite.",
                hint="Its weights are damaged, or it is no SPLADE model; use another one.",
            )
        return weights


def _folder(settings: SpladeSettings) -> Path:
    if not settings.splade_model:
        raise ConfigError("The channel `splade` is on and has no model.", hint="Set `splade_model` to its folder.")
    return model_folder.locate(settings.splade_model, "splade", allow_download=settings.splade_allow_download)


def _require_sparse(folder: Path) -> None:
    """Refuse what the library would turn into a sparse encoder by adding weights drawn at random."""
    modules = folder / "modules.json"
    if modules.is_file():
        sparse = any(name in modules.read_text("utf-8", "replace") for name in _SPARSE_MODULES)
    else:
        architectures = model_folder.read_config(folder, "config.json").get("architectures") or []
        sparse = any(str(name).endswith("ForMaskedLM") for name in architectures)
    if not sparse:
        raise ConfigError(
            f"The model in {folder} is no sparse encoder.",
            hint="`splade_model` must be a SparseEncoder's folder or a masked language model.",
        )


def _checked_limit(folder: Path, wanted: int) -> int:
    most = model_folder.read_config(folder, "config.json").get("max_position_embeddings")
    if isinstance(most, int) and wanted > most:
        raise ConfigError(
            f"`splade_max_tokens` = {wanted}, and the model in {folder} has {most} positions.", hint=f"Use at most {most}."
        )
    return wanted
