"""The token index on disk: what goes in comes out, equal tokens are equal bytes, and no damage goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.errors import IndexCorruptionError, IndexFormatError, InvariantViolationError, NotFoundError
from pipeline.files import canonical_json, tree_files
from pipeline.index.xtr.building import build
from pipeline.index.xtr.codec import BITS
from pipeline.index.xtr.description import DIRECTORY, META_FILE, OFF, Maker, read_meta, write_meta
from pipeline.index.xtr.encodings import Encodings, Gathered
from pipeline.index.xtr.token_index import ARRAYS, TokenIndex
from pipeline.schemas import XtrIndex
from tests.index.xtr.conftest import MakeIndex, unit, write


def chunks(count: int = 40, dimension: int = 16, seed: int = 0) -> list[tuple[int, np.ndarray]]:
    """Every fifth without tokens."""
    draw = np.random.default_rng(seed)
    sizes = [0 if number % 5 == 3 else int(draw.integers(1, 9)) for number in range(count)]
    return [(7 * number + 1, unit(draw.standard_normal((size, dimension)))) for number, size in enumerate(sizes)]


@pytest.mark.parametrize("bits", BITS)
def test_what_goes_in_comes_out(make_index: MakeIndex, bits: int) -> None:
    given = chunks()
    index = make_index(given, bits=bits, roles=np.arange(sum(len(vectors) for _, vectors in given)) % 3)
    assert index.ids.tolist() == [identifier for identifier, _ in given] and len(index) == len(given)
    assert index.tokens == sum(len(vectors) for _, vectors in given) == index.meta.tokens
    assert (
        index.roles.tolist() == [token % 3 for token in range(index.tokens)] and index.spans[-1].tolist()[0] == index.tokens - 1
    )
    for row, (identifier, vectors) in enumerate(given):
        assert index.rows(np.array([identifier, identifier + 1])).tolist() == [row, -1]
        own = slice(index.offsets[row], index.offsets[row + 1])
        if len(vectors):
            assert (index.vectors(own) * vectors).sum(axis=1).min() > {2: 0.6, 4: 0.97, 8: 0.995}[bits]
            assert set(index.owners(np.arange(own.start, own.stop)).tolist()) == {row}


def test_every_token_is_in_the_list_of_one_centroid(make_index: MakeIndex) -> None:
    index = make_index(chunks())
    assert sorted(index.listed.tolist()) == list(range(index.tokens))
    for one in range(index.meta.centroids):
        own = index.listed[index.lists[one] : index.lists[one + 1]]
        nearest = (index.vectors(own.astype(np.int64)) @ index.codec.centroids.T).max(axis=1)
        assert (np.diff(own) > 0).all()
        assert np.allclose(nearest, index.vectors(own.astype(np.int64)) @ index.codec.centroids[one], atol=0.05)


def test_equal_tokens_are_equal_bytes_wherever_they_were_gathered(tmp_path: Path) -> None:
    given = chunks(130)
    write(tmp_path / "a", given)
    write(tmp_path / "b", given)
    contents = [{path.name: path.read_bytes() for path in tree_files(tmp_path / name)} for name in "ab"]
    assert contents[0] == contents[1] and contents[0].keys() == {META_FILE, *ARRAYS}


def test_blocks_hold_all_chunks_whatever_their_size(make_index: MakeIndex) -> None:
    index = make_index(chunks())
    for size in (1, 7, 10_000):
        blocks = list(index.blocks(size))
        assert np.concatenate([block.ids for block in blocks]).tolist() == index.ids.tolist()
        assert np.allclose(np.concatenate([block.vectors for block in blocks]), index.vectors(slice(None)))
        assert all(block.offsets[0] == 0 and block.offsets[-1] == len(block.vectors) for block in blocks)
        assert all(len(block.vectors) <= size or len(block.ids) == 1 for block in blocks)


@pytest.mark.parametrize("given", [[], [(5, np.empty((0, 4), np.float32))]], ids=["no chunks", "no tokens"])
def test_an_index_of_nothing_opens_and_holds_nothing(make_index: MakeIndex, given: Any) -> None:
    index = make_index(given, dimension=4)
    assert (
        index.tokens == 0 and len(index) == len(given) and [len(block.vectors) for block in index.blocks()] == [0] * len(given)
    )


def _flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0xFF
    path.write_bytes(raw)


@pytest.mark.parametrize("name", [*ARRAYS, META_FILE])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: _flip(path, path.stat().st_size - 1),
        lambda path: _flip(path, path.stat().st_size // 2),
        lambda path: _flip(path, 8),
    ],
    ids=["cut", "empty", "missing", "longer", "last byte", "middle byte", "header"],
)
def test_damage_is_told(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    folder = write(tmp_path / "index", chunks())
    damage(folder / name if name == META_FILE else folder / DIRECTORY / name)
    with pytest.raises(IndexCorruptionError, match=r"xtr") as caught:
        TokenIndex.open(folder)
    assert "indexctl build" in caught.value.hint


@pytest.mark.parametrize("name", ARRAYS)
def test_a_file_of_another_size_is_told_also_where_digests_are_trusted(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "index", chunks())
    path = folder / DIRECTORY / name
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(IndexCorruptionError, match="bytes, not"):
        TokenIndex.open(folder, verified=True)


def _resealed(folder: Path, name: str, array: np.ndarray) -> None:
    """Another array in the place of one, as if the stage had written it."""
    path = folder / DIRECTORY / name
    np.save(path, array)
    meta = read_meta(folder)
    from pipeline.files import digest_file
    from pipeline.index.dense.description import FileFacts

    facts = {**meta.files, name: FileFacts(bytes=path.stat().st_size, digest=digest_file(path))}
    write_meta(folder, msgspec.structs.replace(meta, files=facts, seal=""))


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("ids.npy", lambda a: a[::-1], "ids are not in ascending order"),
        ("ids.npy", lambda a: a[1:], r"ids.npy is \[39\]"),
        ("offsets.npy", lambda a: np.r_[a[:-1], a[-1] + 1], "does not divide"),
        ("offsets.npy", lambda a: np.r_[a[0], a[5], a[1:5], a[6:]], "does not divide"),
        ("lists.npy", lambda a: a + 1, "does not divide"),
        ("codes.npy", lambda a: a + np.uint16(1000), "a centroid that there is not"),
        ("listed.npy", lambda a: a - np.int32(1), "a token that there is not"),
        ("residuals.npy", lambda a: a[:, 1:], "residuals.npy is"),
        ("spans.npy", lambda a: a[:-1], "spans.npy is"),
        ("levels.npy", lambda a: a[1:], "levels.npy is"),
        ("codes.npy", lambda a: a.astype(np.int64), "not uint16"),
        ("centroids.npy", lambda a: a.astype(np.float64), "not float32"),
    ],
)
def test_counts_and_types_that_do_not_fit_are_told(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray], problem: str
) -> None:
    folder = write(tmp_path / "index", chunks())
    _resealed(folder, name, change(np.load(folder / DIRECTORY / name)))
    with pytest.raises(IndexCorruptionError, match=problem):
        TokenIndex.open(folder)


def test_another_count_in_the_description_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "index", chunks())
    meta = read_meta(folder)
    for changes in ({"tokens": meta.tokens + 1}, {"chunks": 3}, {"centroids": 1}, {"bits": 3}, {"bits": 4}):
        write_meta(folder, msgspec.structs.replace(meta, **changes))
        with pytest.raises(IndexCorruptionError, match="does not fit together"):
            TokenIndex.open(folder)
    # Without a new seal, the description itself is damaged.
    (folder / META_FILE).write_bytes(canonical_json(msgspec.structs.replace(meta, tokens=1)))
    with pytest.raises(IndexCorruptionError, match="seal"):
        TokenIndex.open(folder)


def test_an_index_of_a_newer_format_is_not_guessed_at(tmp_path: Path) -> None:
    folder = write(tmp_path / "index", chunks())
    write_meta(folder, msgspec.structs.replace(read_meta(folder), version=99))
    with pytest.raises(IndexFormatError, match="format 99, and this program reads format 1"):
        TokenIndex.open(folder)


def test_off_is_a_description_without_an_index(tmp_path: Path) -> None:
    write_meta(tmp_path, OFF)
    read = read_meta(tmp_path)
    assert read.state == "off" and read.encoder is None and read.tokens == 0
    with pytest.raises(NotFoundError, match="no token vectors") as caught:
        TokenIndex.open(tmp_path)
    assert "`xtr`" in caught.value.hint


def test_ids_out_of_order_are_not_indexed(tmp_path: Path) -> None:
    tokens = Encodings(np.array([0, 1, 2]), np.ones((2, 4), np.int8), np.zeros((2, 2), np.int32))
    gathered = Gathered.of([tokens], np.zeros(2, np.int64), np.arange(2))
    with pytest.raises(InvariantViolationError, match="ascending"):
        build(tmp_path, np.array([5, 5]), gathered, np.zeros(2, np.uint8), Maker(name="n", digest="d", dimension=4), 4)


def test_names_of_files_are_those_of_the_kind() -> None:
    assert (DIRECTORY, META_FILE) == (XtrIndex.DIRECTORY, XtrIndex.META)
