"""The embedded default: a static table of token vectors, the words of a text pooled into one vector.

The table is WordLlama's (https://github.com/dleemiller/WordLlama: 32,000 tokens of Llama 2, 256 dimensions, MIT), read from
its wheel without importing it. A text is cut into identifier parts (`words`), each distinct part is tokenised once, and a
vector is the sum over its distinct tokens of sqrt(occurrences) times the token's vector, scaled to unit length. There is no
corpus statistic in it: inverse document frequencies of one repository would change every vector at every commit.

Sums are exact: table entries and weights are rounded to integers that float64 holds exactly, so neither the order of addition
nor blocking nor the number of BLAS threads can change a bit of a row.

Belongs here: reading that table and pooling it. Not here: how words are cut (`words`), caching of vectors (`cache`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import mmap
import threading
from array import array
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.config import EmbedSettings
from pipeline.embed import words
from pipeline.embed.interface import Spread, Vectors
from pipeline.errors import ConfigError, IndexFormatError
from pipeline.files import digest_bytes, digest_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NAME = "wordllama-256"
ALGORITHM = "1"
"""Rises whenever any text's vector changes; part of the embedder's digest."""

_PACKAGE = "wordllama"
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_TENSOR = "embedding.weight"
BATCH_SIZE = 256
LIBRARIES = ("numpy", "tokenizers")
SPREAD = Spread(texts=512, cost=0.25, processes=True, keep_after=None)
_REINSTALL = f"Reinstall the package `{_PACKAGE}`."

_MAX_HEADER_BYTES = 1 << 20
_TABLE_SCALE = 65536.0
_WEIGHT_SCALE = 256.0
_UNIT_SCALE = 2.0**20
_MAX_VOCABULARY = 500_000
"""Distinct runs that are remembered; then the memory starts anew, so that a huge repository cannot fill it."""

_Offsets = npt.NDArray[np.int64]


def load(settings: EmbedSettings) -> StaticEmbedder:
    """The embedder; the settings of the others are not read."""
    return StaticEmbedder()


def digests_of(settings: EmbedSettings) -> tuple[str, str]:
    """Its digest, twice: queries are encoded as documents are."""
    digest = digest_of(package_folder())
    return digest, digest


def package_folder() -> Path:
    """Where the wheel's files lie. Raises `ConfigError` when it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"The embedder's package `{_PACKAGE}` is not installed.", hint=f"Install `{_PACKAGE}`.")
    return Path(spec.submodule_search_locations[0])


def digest_of(folder: Path) -> str:
    """Digest of an embedder made from `folder`: its files, this algorithm, its words. It is remembered."""
    paths = (folder / _WEIGHTS, folder / _TOKENIZER)
    try:
        stamps = tuple((str(path), stat.st_size, stat.st_mtime_ns) for path in paths for stat in [path.stat()])
        return _digest(stamps)
    except OSError as error:
        raise ConfigError(f"The embedder's file {error.filename} cannot be read: {error.strerror}.", hint=_REINSTALL) from error


@functools.lru_cache(maxsize=8)
def _digest(stamps: tuple[tuple[str, int, int], ...]) -> str:
    recipe = [NAME, ALGORITHM, words.VERSION, *(digest_file(Path(path)) for path, _, _ in stamps)]
    return digest_bytes("\n".join(recipe).encode())


def read_table(path: Path) -> npt.NDArray[np.float16]:
    """The token table of a safetensors file, memory-mapped: float16 [tokens, d].

    The format: 8 bytes little-endian length, that much JSON, then the tensors' bytes
    (https://github.com/huggingface/safetensors). Raises `ConfigError` when the file is missing, `IndexFormatError` when it
    is truncated or holds anything else.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ConfigError(f"The embedder's file {path} cannot be read: {error.strerror}.", hint=_REINSTALL) from error
    except ValueError:
        raise IndexFormatError(f"The embedder's file {path} is empty.", hint=_REINSTALL) from None
    header_bytes = int.from_bytes(data[:8], "little")
    if not 2 <= header_bytes <= min(_MAX_HEADER_BYTES, len(data) - 8):
        raise IndexFormatError(f"{path} is not a safetensors file.", hint=_REINSTALL)
    try:
        header = msgspec.json.decode(data[8 : 8 + header_bytes], type=dict[str, dict[str, object]])
        entry = msgspec.convert(header[_TENSOR], _Tensor)
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError):
        raise IndexFormatError(f"{path} has no readable tensor `{_TENSOR}`.", hint=_REINSTALL) from None
    rows, dimension = entry.shape
    begin, end = entry.data_offsets
    start = 8 + header_bytes + begin
    if entry.dtype != "F16" or min(rows, dimension) < 1 or begin < 0 or end - begin != 2 * rows * dimension:
        raise IndexFormatError(f"The tensor `{_TENSOR}` of {path} is not a table of 16-bit floats.", hint=_REINSTALL)
    if len(data) < 8 + header_bytes + end:
        raise IndexFormatError(f"{path} is truncated: {len(data)} bytes of {8 + header_bytes + end}.", hint=_REINSTALL)
    return np.frombuffer(data, dtype="<f2", count=rows * dimension, offset=start).reshape(rows, dimension)


class _Tensor(msgspec.Struct):
    dtype: str
    shape: tuple[int, int]
    data_offsets: tuple[int, int]


def read_tokenizer(path: Path, rows: int) -> Tokenizer:
    """The tokenizer of a table with that many rows. Raises `ConfigError` or `IndexFormatError`."""
    from tokenizers import Tokenizer  # Here, because planning a build imports this module and tokenises nothing.

    if not path.is_file():
        raise ConfigError(f"The embedder's file {path} is missing.", hint=_REINSTALL)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises plain Exception.
        raise IndexFormatError(f"{path} is not a tokenizer: {error}.", hint=_REINSTALL) from None
    if tokenizer.get_vocab_size(with_added_tokens=True) > rows:
        raise IndexFormatError(f"{path} knows more tokens than its table has rows ({rows}).", hint=_REINSTALL)
    return tokenizer


class StaticEmbedder:
    """An `Embedder` over a token table; may be used from several threads. `folder` holds the files of the wheel."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = package_folder() if folder is None else folder
        self._table = read_table(self._folder / _WEIGHTS)
        # Rows are scaled to integers when first used: a query needs a handful of 32,000.
        self._scaled = np.empty(self._table.shape, np.float64)
        self._is_scaled = np.zeros(len(self._table), np.bool_)
        self._lock = threading.Lock()
        self._forget()

    @property
    def name(self) -> str:
        """`wordllama-256`."""
        return NAME

    @property
    def dimension(self) -> int:
        """256."""
        return int(self._table.shape[1])

    @property
    def digest(self) -> str:
        """Of the weights, the tokenizer, this algorithm and the cutting of words."""
        return digest_of(self._folder)

    @property
    def document_digest(self) -> str:
        """The same: queries are encoded as documents are."""
        return self.digest

    def encode(self, texts: Sequence[str], *, batch_size: int = BATCH_SIZE) -> Vectors:
        """Vectors of texts: float32 [n, d], unit rows, each a pure function of its text.

        A text without a single letter or digit gets a direction drawn from a hash of the text: as good as random towards
        everything else, the same for equal texts.
        """
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for start in range(0, len(texts), batch_size):
            batch = texts[start : start + batch_size]
            with self._lock:
                sums = self._pool(batch)
            for row in np.flatnonzero(~sums.any(axis=1)).tolist():
                sums[row] = _hashed_direction(batch[row], self.dimension)
            vectors[start : start + len(batch)] = _unit_rows(sums)
        return vectors

    def encode_queries(self, queries: Sequence[str]) -> Vectors:
        """Vectors of queries: the same as `encode`."""
        return self.encode(queries)

    @functools.cached_property
    def _tokenizer(self) -> Tokenizer:
        # Not before a text has to be encoded: a build whose vectors are all cached needs none.
        return read_tokenizer(self._folder / _TOKENIZER, len(self._table))

    def _forget(self) -> None:
        """Empty the vocabulary: runs by number, tokens by part, and the tokens of run i at tokens[ends[i] : ends[i + 1]]."""
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__
        self._tokens_of: dict[str, list[int]] = {}
        self._ends = np.zeros(1, np.int64)
        self._tokens = np.empty(0, np.int64)

    def _pool(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Weighted sums of token vectors, exact: float64 [n, d] of integers."""
        if len(self._numbers) > _MAX_VOCABULARY:
            self._forget()
        occurrences = array("q")
        lengths = np.empty(len(texts), np.int64)
        for row, text in enumerate(texts):
            runs = words.runs(text)
            lengths[row] = len(runs)
            occurrences.extend(map(self._numbers.__getitem__, runs))
        self._learn()
        owners = np.repeat(np.arange(len(texts)), lengths)
        owners, tokens, weights = self._weigh(owners, np.frombuffer(occurrences, np.int64))
        self._scale(tokens)
        sums = np.zeros((len(texts), self.dimension), np.float64)
        ends = np.searchsorted(owners, np.arange(len(texts) + 1))
        for row in range(len(texts)):
            # A gather and a product that stay in the cache: six times as fast as one `np.add.reduceat` over the batch.
            own = slice(ends[row], ends[row + 1])
            sums[row] = weights[own] @ self._scaled[tokens[own]]
        return sums

    def _learn(self) -> None:
        """Tokenise the parts of all runs that have come since."""
        known = len(self._ends) - 1
        if len(self._numbers) == known:
            return
        new = list(itertools.islice(self._numbers, known, None))
        parts_of = [words.parts(run) for run in new]
        known_parts = self._tokens_of
        new_parts = list({part: None for parts in parts_of for part in parts if part not in known_parts})
        encoded = self._tokenizer.encode_batch_fast(new_parts, add_special_tokens=False)
        known_parts.update((part, encoding.ids) for part, encoding in zip(new_parts, encoded, strict=True))
        tokens = array("q")
        ends = array("q")
        for parts in parts_of:
            for part in parts:
                tokens.extend(known_parts[part])
            ends.append(len(tokens))
        self._ends = np.concatenate([self._ends, np.frombuffer(ends, np.int64) + len(self._tokens)])
        self._tokens = np.concatenate([self._tokens, np.frombuffer(tokens, np.int64)])

    def _weigh(self, owners: _Offsets, runs: _Offsets) -> tuple[_Offsets, _Offsets, npt.NDArray[np.float64]]:
        """From (text, run) of every occurrence to (text, token, weight), distinct and sorted."""
        counts = self._ends[runs + 1] - self._ends[runs]
        # Position i of the result is token (i - first position of its run's tokens) of that run.
        shifts = np.repeat(self._ends[runs] - (np.cumsum(counts) - counts), counts)
        tokens = self._tokens[shifts + np.arange(len(shifts))]
        pairs = np.repeat(owners, counts) * len(self._table) + tokens
        distinct, occurrences = np.unique(pairs, return_counts=True)
        return *np.divmod(distinct, len(self._table)), np.rint(np.sqrt(occurrences) * _WEIGHT_SCALE)

    def _scale(self, tokens: _Offsets) -> None:
        """Make the integer rows of these tokens ready."""
        new = np.unique(tokens[~self._is_scaled[tokens]])
        rows = np.rint(self._table[new].astype(np.float64) * _TABLE_SCALE)
        if not np.isfinite(rows).all():
            raise IndexFormatError(f"The table {self._folder / _WEIGHTS} holds values that are not finite.", hint=_REINSTALL)
        self._scaled[new] = rows
        self._is_scaled[new] = True


def _hashed_direction(text: str, dimension: int) -> npt.NDArray[np.float64]:
    """Odd integers from -255 to 255 by SHAKE-256 of the text: float64 [d], never zero."""
    drawn = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(dimension)
    return 2.0 * np.frombuffer(drawn, np.uint8).astype(np.float64) - 255.0


def _unit_rows(sums: npt.NDArray[np.float64]) -> Vectors:
    """Rows at unit length. Entries are first rounded to 20 bits of the row's largest, so that sums of squares are exact too."""
    rounded = np.rint(sums * (_UNIT_SCALE / np.abs(sums).max(axis=1, keepdims=True)))
    lengths = np.sqrt(np.square(rounded).sum(axis=1, keepdims=True))
    return np.asarray(rounded / lengths, np.float32)
