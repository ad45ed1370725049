"""The token index on disk: every token of every chunk in a few bits, grouped by chunk, and listed by centroid.

    xtr.meta.json           counts, encoder, bits, digests (`description`)
    xtr/ids.npy             int64 [n], ascending: the chunks
    xtr/offsets.npy         int64 [n + 1]: the tokens of chunk i are offsets[i] to offsets[i + 1]
    xtr/codes.npy           uint16 [t]: the centroid of each token
    xtr/residuals.npy       uint8 [t, w]: what is left over, packed
    xtr/spans.npy           int32 [t, 2]: bytes of the chunk's text as UTF-8, half-open; -1 where a token stands for none
    xtr/roles.npy           uint8 [t]: bits of `places`
    xtr/centroids.npy       float32 [c, d]
    xtr/levels.npy          float32 [2^bits]
    xtr/listed.npy          int32 [t]: tokens by centroid, ascending in each
    xtr/lists.npy           int64 [c + 1]: the tokens of centroid j are lists[j] to lists[j + 1] of `listed`

Arrays are memory-mapped. Nothing is parsed before size and digest were checked.

Belongs here: reading. Not here: building (`building`), searching (`wide`, `narrow`, `oracle`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.embed.arrays import open_array
from pipeline.errors import IndexCorruptionError, NotFoundError
from pipeline.index.dense.arrays import Ids, rows_of
from pipeline.index.dense.index_files import check_bytes
from pipeline.index.sealed import REBUILD
from pipeline.index.xtr.codec import BITS, Codec, packed_width
from pipeline.index.xtr.description import DIRECTORY, Maker, TokenMeta, read_meta
from pipeline.index.xtr.encoder import Numbers, Spans, Vectors

ARRAYS: Mapping[str, tuple[type[np.generic], int]] = {
    "ids.npy": (np.int64, 1),
    "offsets.npy": (np.int64, 1),
    "codes.npy": (np.uint16, 1),
    "residuals.npy": (np.uint8, 2),
    "spans.npy": (np.int32, 2),
    "roles.npy": (np.uint8, 1),
    "centroids.npy": (np.float32, 2),
    "levels.npy": (np.float32, 1),
    "listed.npy": (np.int32, 1),
    "lists.npy": (np.int64, 1),
}
"""File name -> type and number of dimensions."""
_BLOCK = 1 << 14


class Block(NamedTuple):
    """Some chunks with their tokens: ids int64 [m], offsets int64 [m + 1] into vectors float32 [t, d]."""

    ids: Ids
    offsets: Numbers
    vectors: Vectors


class TokenIndex:
    """An opened token index. Threads may read it at the same time: nothing in it changes."""

    def __init__(self, meta: TokenMeta, maker: Maker, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """`open` makes these."""
        self.meta = meta
        self.maker = maker
        self.ids: Ids = arrays["ids.npy"]
        self.offsets: Numbers = arrays["offsets.npy"]
        self.spans: Spans = arrays["spans.npy"]
        self.roles: npt.NDArray[np.uint8] = arrays["roles.npy"]
        self.listed: npt.NDArray[np.int32] = arrays["listed.npy"]
        self.lists: Numbers = arrays["lists.npy"]
        self.codec = Codec(np.array(arrays["centroids.npy"]), np.array(arrays["levels.npy"]))
        self._codes = arrays["codes.npy"]
        self._residuals = arrays["residuals.npy"]

    @classmethod
    def open(cls, folder: Path, *, verified: bool = False) -> TokenIndex:
        """The index of an artefact or a version. `verified`: somebody has digested its files, so sizes are looked at alone.

        Raises `NotFoundError` for an artefact that was built with `xtr` off, `IndexCorruptionError` for files that are missing,
        damaged or do not fit each other, `IndexFormatError` for another version's.
        """
        meta = read_meta(folder)
        if meta.encoder is None:
            raise NotFoundError("The index has no token vectors.", hint="Set `xtr` to `on` and build again.")
        arrays = {}
        for name, (kind, dimensions) in ARRAYS.items():
            path = folder / DIRECTORY / name
            try:
                with path.open("rb") as file:
                    check_bytes(path, file, meta.files.get(name), digest=not verified)
            except OSError as error:
                raise IndexCorruptionError(f"{path} cannot be read: {error.strerror}.", hint=REBUILD) from error
            arrays[name] = open_array(path, np.dtype(kind), dimensions)
        if problem := _misfit(meta, meta.encoder, arrays):
            raise IndexCorruptionError(f"{folder / DIRECTORY} does not fit together: {problem}.", hint=REBUILD)
        return cls(meta, meta.encoder, arrays)

    def __len__(self) -> int:
        """Chunks, those without tokens among them."""
        return len(self.ids)

    @property
    def tokens(self) -> int:
        """Tokens of all chunks."""
        return len(self._codes)

    def vectors(self, tokens: Any) -> Vectors:
        """The stored vectors of tokens, by a slice or by numbers int64 [m]: float32 [m, d], unit rows."""
        return self.codec.decode(self._codes[tokens], self._residuals[tokens])

    def owners(self, tokens: Numbers) -> Numbers:
        """The row of the chunk that each token is of."""
        return self.offsets.searchsorted(tokens, side="right") - 1

    def rows(self, ids: Ids) -> Numbers:
        """The row of each chunk, -1 for ids that the index does not have."""
        return rows_of(self.ids, ids)

    def blocks(self, tokens: int = _BLOCK) -> Iterator[Block]:
        """All chunks in ascending order of ids, about so many tokens at a time."""
        first = 0
        while first < len(self.ids):
            last = max(int(self.offsets.searchsorted(self.offsets[first] + tokens, side="right")) - 1, first + 1)
            start, end = int(self.offsets[first]), int(self.offsets[last])
            yield Block(self.ids[first:last], self.offsets[first : last + 1] - start, self.vectors(slice(start, end)))
            first = last


def _misfit(meta: TokenMeta, maker: Maker, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """What does not fit, or nothing."""
    chunks, tokens, centroids = meta.chunks, meta.tokens, meta.centroids
    if meta.bits not in BITS:
        return f"{meta.bits} bits a dimension"
    shapes = {
        "ids.npy": (chunks,),
        "offsets.npy": (chunks + 1,),
        "codes.npy": (tokens,),
        "residuals.npy": (tokens, packed_width(maker.dimension, meta.bits)),
        "spans.npy": (tokens, 2),
        "roles.npy": (tokens,),
        "centroids.npy": (centroids, maker.dimension),
        "levels.npy": (1 << meta.bits,),
        "listed.npy": (tokens,),
        "lists.npy": (centroids + 1,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            return f"{name} is {list(arrays[name].shape)} and not {list(shape)}"
    if (np.diff(arrays["ids.npy"]) <= 0).any():
        return "its ids are not in ascending order"
    for name in ("offsets.npy", "lists.npy"):
        steps = arrays[name]
        if steps[0] != 0 or steps[-1] != tokens or (np.diff(steps) < 0).any():
            return f"{name} does not divide its {tokens} tokens"
    if tokens and int(arrays["codes.npy"].max()) >= centroids:
        return "a token has a centroid that there is not"
    if tokens and not 0 <= int(arrays["listed.npy"].min()) <= int(arrays["listed.npy"].max()) < tokens:
        return "a list holds a token that there is not"
    return ""
