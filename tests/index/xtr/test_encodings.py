"""The cache of encodings: a text is encoded once, damage costs time and no truth, and its size is bounded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.index.xtr import encodings
from pipeline.index.xtr.encodings import EncodingCache, Encodings, Gathered, rounded, unit
from tests.index.xtr.conftest import DIMENSION, WordEncoder

TEXTS = ["a ship", "the berth fee", "", "a ship", "high tide"]


def through(shared: Path, encoder: WordEncoder, texts: Sequence[str] = TEXTS) -> Gathered:
    def encode(missing: Sequence[str]) -> Iterator[Encodings]:
        for start in range(0, len(missing), 2):
            yield rounded(encoder.encode(missing[start : start + 2]))

    return EncodingCache(shared, encoder.digest, DIMENSION).through(texts, encode)


def contents(gathered: Gathered) -> tuple[bytes, ...]:
    whole = gathered.read(0, len(gathered.piece), DIMENSION)
    return whole.offsets.tobytes(), whole.values.tobytes(), whole.spans.tobytes()


def segments(shared: Path) -> list[Path]:
    return sorted(shared.glob("tokens/*/seg-*"))


def test_a_rounded_vector_has_the_direction_that_it_had() -> None:
    encoder = WordEncoder()
    made = encoder.encode(["a ship at the quay", "x"])
    assert (unit(rounded(made).values) * made.vectors).sum(axis=1).min() > 0.9999
    assert np.abs(rounded(made).values).max(axis=1).tolist() == [127] * len(made.vectors)
    assert rounded(encoder.encode([""])).values.shape == (0, DIMENSION)


def test_a_text_is_encoded_once_whoever_asks(tmp_path: Path) -> None:
    encoder = WordEncoder()
    first = through(tmp_path, encoder)
    assert sorted(encoder.encoded) == sorted(set(TEXTS))
    again = through(tmp_path, encoder, [*TEXTS, "new words"])
    assert encoder.encoded[-1] == "new words" and len(encoder.encoded) == 5
    assert contents(again.take(np.arange(5))) == contents(first)
    alone = [rounded(encoder.encode([text])) for text in TEXTS]
    assert contents(first)[1] == b"".join(one.values.tobytes() for one in alone)


def test_another_encoder_has_a_cache_of_its_own(tmp_path: Path) -> None:
    through(tmp_path, WordEncoder())
    other = WordEncoder("words-2")
    through(tmp_path, other)
    assert len(other.encoded) == 4


@pytest.mark.parametrize("name", ["keys.npy", "offsets.npy", "values.npy", "spans.npy", "segment.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_segment_is_encoded_again(tmp_path: Path, name: str, damage: str) -> None:
    expected = contents(through(tmp_path, WordEncoder()))
    (segment,) = segments(tmp_path)
    raw = bytearray((segment / name).read_bytes())
    raw[len(raw) // 2] ^= 0x55
    (segment / name).unlink()
    if damage != "missing":
        (segment / name).write_bytes(raw[:-5] if damage == "cut" else raw)
    encoder = WordEncoder()
    assert contents(through(tmp_path, encoder)) == expected and len(encoder.encoded) == 4
    later = WordEncoder()
    assert contents(through(tmp_path, later)) == expected and not later.encoded


def test_what_was_encoded_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "TEXTS", 2)
    encoder = WordEncoder()

    def failing(missing: Sequence[str]) -> Iterator[Encodings]:
        yield rounded(encoder.encode(missing[:2]))
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="power"):
        EncodingCache(tmp_path, encoder.digest, DIMENSION).through(TEXTS, failing)
    later = WordEncoder()
    through(tmp_path, later)
    assert len(later.encoded) == 2


def test_an_encoder_that_gives_too_few_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 encodings for 4 texts"):
        EncodingCache(tmp_path, "d", DIMENSION).through(TEXTS, lambda missing: [])


def test_the_segments_that_nobody_asked_for_longest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "MOST_SEGMENTS", 2)
    encoder = WordEncoder()
    for age, text in ((3000, "one"), (2000, "two")):
        before = set(segments(tmp_path))
        through(tmp_path, encoder, [text])
        (made,) = set(segments(tmp_path)) - before
        os.utime(made, (age, age))
    through(tmp_path, encoder, ["one"])  # asked for now
    through(tmp_path, encoder, ["three"])
    encoder.encoded.clear()
    through(tmp_path, encoder, ["one", "three"])
    assert not encoder.encoded and len(segments(tmp_path)) == 2


def test_the_cache_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "MOST_BYTES", 1)
    gathered = through(tmp_path, WordEncoder())
    assert not segments(tmp_path) and gathered.offsets[-1] == 9
