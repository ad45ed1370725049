"""Building a token index: gathered tokens in, the files of `token_index` out, byte for byte the same for the same tokens.

Belongs here: the sample that centroids are trained on, and writing, in blocks. Not here: encoding (`stage`, `encodings`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import InvariantViolationError
from pipeline.files import digest_file
from pipeline.index.dense.arrays import Ids
from pipeline.index.dense.description import FileFacts
from pipeline.index.xtr.codec import Codec, centroid_count, packed_width, train
from pipeline.index.xtr.description import DIRECTORY, FORMAT, Maker, TokenMeta, read_meta, write_meta
from pipeline.index.xtr.encoder import Numbers, Vectors
from pipeline.index.xtr.encodings import Gathered, unit
from pipeline.index.xtr.places import Roles
from pipeline.index.xtr.token_index import ARRAYS
from pipeline.npy import save_array, write_header

_SAMPLED = 32
"""Tokens of the sample for each centroid."""
_TEXTS = 64
"""Read at a time."""
_MOST_TOKENS = 1 << 31


def build(folder: Path, ids: Ids, tokens: Gathered, roles: Roles, maker: Maker, bits: int) -> TokenMeta:
    """Write the index of chunks `ids` (int64 [n], ascending), whose tokens are `tokens` and their roles uint8 [t].

    Raises `InvariantViolationError` for ids that are not ascending, and for more tokens than it can number.
    """
    if (np.diff(ids) <= 0).any():
        raise InvariantViolationError("The ids of the chunks are not in ascending order.", hint="Rebuild the chunks.")
    count = int(tokens.offsets[-1])
    if count >= _MOST_TOKENS:
        raise InvariantViolationError(f"There are {count:,} tokens.", hint="Set a lower `xtr_max_tokens`.")
    out = folder / DIRECTORY
    out.mkdir()
    centroids = centroid_count(count)
    codec = train(_sample(tokens, centroids * _SAMPLED, maker.dimension), centroids, bits)
    codes = _write_tokens(out, tokens, codec, maker.dimension)
    listed = np.argsort(codes, kind="stable").astype(np.int32)
    lists = np.searchsorted(codes[listed], np.arange(centroids + 1)).astype(np.int64)
    whole: dict[str, npt.NDArray[np.generic]] = {
        "ids.npy": ids,
        "offsets.npy": tokens.offsets,
        "codes.npy": codes,
        "roles.npy": roles,
        "centroids.npy": codec.centroids,
        "levels.npy": codec.levels,
        "listed.npy": listed,
        "lists.npy": lists,
    }
    for name, array in whole.items():
        save_array(out / name, array.astype(ARRAYS[name][0], copy=False))
    files = {name: FileFacts(bytes=(out / name).stat().st_size, digest=digest_file(out / name)) for name in ARRAYS}
    write_meta(
        folder,
        TokenMeta(
            version=FORMAT,
            state="on",
            encoder=maker,
            bits=bits,
            chunks=len(ids),
            tokens=count,
            centroids=centroids,
            files=files,
        ),
    )
    return read_meta(folder)


def _sample(tokens: Gathered, wanted: int, dimension: int) -> Vectors:
    """Every so-manieth token, about as many as wanted: float32 [s, d]."""
    stride = max(1, int(tokens.offsets[-1]) // max(wanted, 1))
    taken = [np.empty((0, dimension), np.float32)]
    for start in range(0, len(tokens.piece), _TEXTS):
        block = tokens.read(start, min(start + _TEXTS, len(tokens.piece)), dimension)
        # Counted over all tokens, however they are read.
        first = -int(tokens.offsets[start]) % stride
        taken.append(unit(block.values[first::stride]))
    return np.concatenate(taken)


def _write_tokens(out: Path, tokens: Gathered, codec: Codec, dimension: int) -> Numbers:
    """Write residuals and spans; the centroid of each token, int64 [t]."""
    count = int(tokens.offsets[-1])
    codes = np.empty(count, np.int64)
    # A block at a time, so that memory does not grow with the corpus.
    with (out / "residuals.npy").open("wb") as residuals, (out / "spans.npy").open("wb") as spans:
        write_header(residuals, np.uint8, (count, packed_width(dimension, codec.bits)))
        write_header(spans, np.int32, (count, 2))
        for start in range(0, len(tokens.piece), _TEXTS):
            end = min(start + _TEXTS, len(tokens.piece))
            block = tokens.read(start, end, dimension)
            own = slice(int(tokens.offsets[start]), int(tokens.offsets[end]))
            codes[own], packed = codec.encode(unit(block.values))
            residuals.write(np.ascontiguousarray(packed, np.uint8).data)
            spans.write(np.ascontiguousarray(block.spans, np.int32).data)
    return codes
