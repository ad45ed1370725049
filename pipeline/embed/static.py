"""The embedded default: a static table of token vectors, the words of a text pooled into one vector.

A text is cut into identifier parts (`words`), each distinct part is tokenised once, and a vector is the sum over its distinct
tokens of sqrt(occurrences) times the token's vector, scaled to unit length. There is no corpus statistic in it: inverse
document frequencies of one repository would change every vector at every commit. What a token is worth has been learned
instead, from descriptions and the code that they describe, and is the length of its vector.

The table lies in `weights/`: `rows.npy` (int8 [tokens, d]), `scales.npy` (uint16 [tokens], what a row is multiplied by) and
`card.json`, which says where they come from and what their digests are. `benchmarks/train_static.py` made them from the
table of WordLlama (https://github.com/dleemiller/WordLlama, MIT), whose wheel has the tokenizer (32,000 tokens of Llama 2);
it is read without importing the package.

Sums are exact: rows and weights are integers that float64 holds exactly, so neither the order of addition nor blocking nor the
number of BLAS threads can change a bit of a row.

Belongs here: reading that table and pooling it. Not here: how words are cut (`words`), caching of vectors (`cache`), training
(`benchmarks/train_static.py`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import threading
from array import array
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

NAME = "wordllama-code-256"
ALGORITHM = "2"
"""Rises whenever any text's vector changes; part of the embedder's digest."""
FORMAT = 1
"""Of the folder `weights`."""

WEIGHTS = Path(__file__).with_name("weights")
ROWS, SCALES, CARD = "rows.npy", "scales.npy", "card.json"
_PACKAGE = "wordllama"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
BATCH_SIZE = 256
LIBRARIES = ("numpy", "tokenizers")
SPREAD = Spread(texts=512, cost=0.25, processes=True, keep_after=None)
_REINSTALL = "Reinstall `codeintel-pipeline`."
_REINSTALL_TOKENIZER = f"Reinstall the package `{_PACKAGE}`."

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
    digest = digest_of(WEIGHTS)
    return digest, digest


def tokenizer_path() -> Path:
    """The tokenizer in WordLlama's wheel. Raises `ConfigError` when that is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"The embedder's package `{_PACKAGE}` is not installed.", hint=f"Install `{_PACKAGE}`.")
    return Path(spec.submodule_search_locations[0], _TOKENIZER)


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a card says of the files: their digests, and that of the tokenizer that they were trained with."""

    rows: str
    scales: str
    tokenizer: str


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`card.json`: what the table is, where it comes from, what it was trained on, and how good it is."""

    version: int
    name: str
    about: str
    licence: str
    source: dict[str, str]
    digests: Table
    training: dict[str, int | float | str]
    packages: dict[str, list[str]]
    held_out: list[str]
    figures: dict[str, float]


def read_card(folder: Path) -> Card:
    """The card of a table. Raises `ConfigError` when it is missing, `IndexFormatError` when it is no such card."""
    path = folder / CARD
    try:
        card = msgspec.json.decode(path.read_bytes(), type=Card)
    except OSError as error:
        raise _unreadable(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise IndexFormatError(f"{path} is not the card of a token table.", hint=_REINSTALL) from None
    if card.version != FORMAT:
        raise IndexFormatError(f"{path} is of version {card.version}, not {FORMAT}.", hint=_REINSTALL)
    return card


def digest_of(folder: Path) -> str:
    """Digest of an embedder made from `folder`: its table and tokenizer, this algorithm, its words. It is remembered.

    Raises `ConfigError` when a file is missing, `IndexFormatError` when one is not what the card says.
    """
    try:
        paths = (folder / CARD, folder / ROWS, folder / SCALES, tokenizer_path())
        return _digest(folder, tuple((str(path), stat.st_size, stat.st_mtime_ns) for path in paths for stat in [path.stat()]))
    except OSError as error:
        raise _unreadable(error) from error


@functools.lru_cache(maxsize=8)
def _digest(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    expected = read_card(folder).digests
    _, rows, scales, tokenizer = (Path(path) for path, _, _ in stamps)
    for path, digest in ((rows, expected.rows), (scales, expected.scales)):
        if digest_file(path) != digest:
            raise IndexFormatError(f"{path} is damaged: its digest is not that of its card.", hint=_REINSTALL)
    if digest_file(tokenizer) != expected.tokenizer:
        raise IndexFormatError(
            f"{tokenizer} is not the tokenizer that the token table was trained with.",
            hint=f"Install the version of `{_PACKAGE}` that `codeintel-pipeline` asks for.",
        )
    recipe = [NAME, ALGORITHM, words.VERSION, expected.rows, expected.scales, expected.tokenizer]
    return digest_bytes("\n".join(recipe).encode())


def read_table(folder: Path) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint16]]:
    """The token table, memory-mapped: int8 [tokens, d], and uint16 [tokens], what each row is multiplied by.

    Raises `ConfigError` when a file is missing, `IndexFormatError` when it holds anything else. Digests are not checked here.
    """
    rows, scales = (_mapped(folder / name) for name in (ROWS, SCALES))
    if rows.dtype != np.int8 or rows.ndim != 2 or min(rows.shape) < 1:
        raise IndexFormatError(f"{folder / ROWS} is not a table of 8-bit integers.", hint=_REINSTALL)
    if scales.dtype != np.uint16 or scales.shape != rows.shape[:1]:
        raise IndexFormatError(f"{folder / SCALES} does not have one 16-bit integer for each row.", hint=_REINSTALL)
    return rows, scales


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        if error.filename is not None:
            raise _unreadable(error) from error
        raise IndexFormatError(f"{path} is not an array.", hint=_REINSTALL) from None
    except (ValueError, EOFError, SyntaxError):  # What NumPy raises of a header, by what is wrong with it.
        raise IndexFormatError(f"{path} is not an array, or is truncated.", hint=_REINSTALL) from None
    if not isinstance(array, np.ndarray):
        raise IndexFormatError(f"{path} is not an array.", hint=_REINSTALL)
    return np.asarray(array)  # Of `np.memmap` each slice would be one, too, and slow.


def _unreadable(error: OSError) -> ConfigError:
    hint = _REINSTALL_TOKENIZER if str(error.filename).endswith(_TOKENIZER) else _REINSTALL
    return ConfigError(f"The embedder's file {error.filename} cannot be read: {error.strerror}.", hint=hint)


def read_tokenizer(path: Path, rows: int) -> Tokenizer:
    """The tokenizer of a table with that many rows. Raises `ConfigError` or `IndexFormatError`."""
    from tokenizers import Tokenizer  # Here, because planning a build imports this module and tokenises nothing.

    if not path.is_file():
        raise ConfigError(f"The embedder's file {path} is missing.", hint=_REINSTALL_TOKENIZER)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises plain Exception.
        raise IndexFormatError(f"{path} is not a tokenizer: {error}.", hint=_REINSTALL_TOKENIZER) from None
    if tokenizer.get_vocab_size(with_added_tokens=True) > rows:
        raise IndexFormatError(f"{path} knows more tokens than its table has rows ({rows}).", hint=_REINSTALL_TOKENIZER)
    return tokenizer


class StaticEmbedder:
    """An `Embedder` over a token table; may be used from several threads. `folder` holds the table and its card."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        self._folder = folder
        self._table, self._scales = read_table(folder)
        # Rows are scaled when first used, and lie in the order of that: a query, or a small build, needs a handful of 32,000,
        # and room for all of them would take longer to get than its answer.
        self._scaled = np.empty((0, self._table.shape[1]), np.float64)
        self._places = np.full(len(self._table), -1, np.int64)
        self._count = 0
        self._lock = threading.Lock()
        self._forget()

    @property
    def name(self) -> str:
        """`wordllama-code-256`."""
        return NAME

    @property
    def dimension(self) -> int:
        """256."""
        return int(self._table.shape[1])

    @property
    def digest(self) -> str:
        """Of the table, the tokenizer, this algorithm and the cutting of words."""
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
        return read_tokenizer(tokenizer_path(), len(self._table))

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
        places = self._scale(tokens)
        sums = np.zeros((len(texts), self.dimension), np.float64)
        ends = np.searchsorted(owners, np.arange(len(texts) + 1))
        for row in range(len(texts)):
            # A gather and a product that stay in the cache: six times as fast as one `np.add.reduceat` over the batch.
            own = slice(ends[row], ends[row + 1])
            sums[row] = weights[own] @ self._scaled[places[own]]
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

    def _scale(self, tokens: _Offsets) -> _Offsets:
        """Make the integer rows of these tokens ready; returns where in `_scaled` each of them lies."""
        new = np.unique(tokens[self._places[tokens] < 0])
        count = self._count + len(new)
        if count > len(self._scaled):
            grown = np.empty((min(2 * count, len(self._table)), self.dimension), np.float64)
            grown[: self._count] = self._scaled[: self._count]
            self._scaled = grown
        self._scaled[self._count : count] = self._table[new].astype(np.float64) * self._scales[new, None]
        self._places[new] = np.arange(self._count, count)
        self._count = count
        return self._places[tokens]


def _hashed_direction(text: str, dimension: int) -> npt.NDArray[np.float64]:
    """Odd integers from -255 to 255 by SHAKE-256 of the text: float64 [d], never zero."""
    drawn = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(dimension)
    return 2.0 * np.frombuffer(drawn, np.uint8).astype(np.float64) - 255.0


def _unit_rows(sums: npt.NDArray[np.float64]) -> Vectors:
    """Rows at unit length. Entries are first rounded to 20 bits of the row's largest, so that sums of squares are exact too."""
    rounded = np.rint(sums * (_UNIT_SCALE / np.abs(sums).max(axis=1, keepdims=True)))
    lengths = np.sqrt(np.square(rounded).sum(axis=1, keepdims=True))
    return np.asarray(rounded / lengths, np.float32)
