"""The files of an impact index: round trip, equal bytes, and every way in which they can be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from pipeline import files
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.index.splade import index_files
from pipeline.index.splade.index_files import EncoderFacts, open_postings, read_meta, write, write_off
from pipeline.index.splade.postings import Postings, SparseDocuments, build
from pipeline.schemas import SpladeIndex

WHO = EncoderFacts(name="splade/tiny", digest="d" * 64, vocabulary=100)
NAMES = ("ids", "terms", "offsets", "rows", "impacts")


def postings(bits: int = 16, count: int = 20) -> Postings:
    random = np.random.default_rng(3)
    lengths = random.integers(0, 9, count)
    terms = np.concatenate([np.empty(0, np.int32), *(np.sort(random.choice(100, n, replace=False)) for n in lengths)])
    impacts = random.integers(1, 256, len(terms)).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return build(
        SparseDocuments(random.permutation(count).astype(np.int64), offsets, terms.astype(np.int32), impacts), bits=bits
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "index", postings(), WHO, bits=16, document_terms=8)
    return tmp_path / "index"


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("count", [0, 1, 20])
def test_what_is_written_is_read_and_mapped(tmp_path: Path, bits: Literal[8, 16], count: int) -> None:
    made = postings(bits, count)
    meta = write(tmp_path, made, WHO, bits=bits, document_terms=8)
    assert read_meta(tmp_path) == meta and (meta.documents, meta.postings) == (count, len(made.rows))
    assert meta.encoder == WHO and (meta.bits, meta.document_terms) == (bits, 8)
    for verified in (False, True):
        found = open_postings(tmp_path, meta, verified=verified)
        for name in NAMES:
            array = getattr(found, name)
            assert np.array_equal(array, getattr(made, name)) and array.dtype == getattr(made, name).dtype
            assert not array.flags.writeable  # of a file, not in memory


def test_equal_postings_are_equal_files(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "again", postings(), WHO, bits=16, document_terms=8)
    first, second = files.tree_files(folder), files.tree_files(tmp_path / "again")
    assert len(first) == 1 + len(NAMES)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_channel_that_is_off_says_so(tmp_path: Path) -> None:
    write_off(tmp_path)
    meta = read_meta(tmp_path)
    assert meta.encoder is None and meta.documents == 0 and files.tree_files(tmp_path) == [tmp_path / index_files.META]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "flipped", "another array", "empty"])
def test_a_damaged_array_is_refused(folder: Path, name: str, damage: str) -> None:
    path = folder / index_files.DIRECTORY / f"{name}.npy"
    raw = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "another array":
        shutil.copyfile(path.with_name("rows.npy" if name != "rows" else "impacts.npy"), path)
    else:
        path.write_bytes({"truncated": raw[:-3], "longer": raw + b"\0", "empty": b""}[damage])
    with pytest.raises(IndexCorruptionError) as caught:
        open_postings(folder, read_meta(folder))
    assert str(path) in str(caught.value) and "indexctl" in caught.value.hint


@pytest.mark.parametrize("name", NAMES)
def test_another_size_is_refused_even_where_digests_are_vouched_for(folder: Path, name: str) -> None:
    path = folder / index_files.DIRECTORY / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IndexCorruptionError, match="bytes, not"):
        open_postings(folder, read_meta(folder), verified=True)


@pytest.mark.parametrize("change", [{"documents": 19}, {"terms": 1}, {"postings": 7}, {"bits": 8}])
def test_counts_that_are_not_those_of_the_files_are_refused(folder: Path, change: dict[str, Any]) -> None:
    meta = msgspec.structs.replace(read_meta(folder), **change)
    with pytest.raises(IndexCorruptionError):
        open_postings(folder, meta)


@pytest.mark.parametrize("name", NAMES)
def test_an_array_of_another_length_is_refused_though_its_digest_is_right(folder: Path, name: str, tmp_path: Path) -> None:
    made = postings()
    shorter = Postings(**{one: getattr(made, one)[: -1 if one == name else None] for one in NAMES})
    meta = write(tmp_path / "shorter", shorter, WHO, bits=16, document_terms=8)
    true = read_meta(folder)
    meta = msgspec.structs.replace(meta, documents=true.documents, terms=true.terms, postings=true.postings)
    with pytest.raises(IndexCorruptionError, match="do not fit each other"):
        open_postings(tmp_path / "shorter", meta)


@pytest.mark.parametrize("bad", [[0, 5, 3], [1], [3, 3]])
def test_offsets_that_lead_nowhere_are_refused(tmp_path: Path, bad: list[int]) -> None:
    made = postings()
    offsets = made.offsets.copy()
    offsets[: len(bad)] = bad
    changed = Postings(made.ids, made.terms, offsets, made.rows, made.impacts)
    meta = write(tmp_path, changed, WHO, bits=16, document_terms=8)
    with pytest.raises(IndexCorruptionError, match="do not fit each other"):
        open_postings(tmp_path, meta)


@pytest.mark.parametrize("raw", [b"", b"{}", b"garbage", b'{"version": 1, "surprise": 2}', b'{"version": 1, "bits": 9}'])
def test_a_damaged_description_is_refused(folder: Path, raw: bytes) -> None:
    (folder / index_files.META).write_bytes(raw)
    with pytest.raises(IndexCorruptionError):
        read_meta(folder)


def test_a_changed_description_breaks_its_seal(folder: Path) -> None:
    path = folder / index_files.META
    path.write_bytes(path.read_bytes().replace(b"splade/tiny", b"splade/huge"))
    with pytest.raises(IndexCorruptionError, match="seal"):
        read_meta(folder)


def test_a_missing_description_and_one_of_another_format_are_refused(folder: Path) -> None:
    path = folder / index_files.META
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(IndexFormatError, match="format 2"):
        read_meta(folder)
    path.unlink()
    with pytest.raises(IndexCorruptionError, match="cannot be read"):
        read_meta(folder)


def test_the_names_of_the_files_are_those_of_the_schema() -> None:
    assert (index_files.DIRECTORY, index_files.META) == (SpladeIndex.DIRECTORY, SpladeIndex.META)
