"""The shared cache of vectors: hits, merging, damage, two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.embed import cache as module
from pipeline.embed.cache import VectorCache
from pipeline.embed.interface import Vectors

DIMENSION = 4


def vector_of(text: str) -> list[float]:
    number = int(text)
    return [number, number + 1, number * 2, 1]


def encode(texts: Sequence[str]) -> Vectors:
    return np.array([vector_of(text) for text in texts], np.float32).reshape(len(texts), DIMENSION)


def blocks(texts: Sequence[str]) -> Iterator[Vectors]:
    """Vectors of texts, two at a time."""
    for start in range(0, len(texts), 2):
        yield encode(texts[start : start + 2])


def refuse(texts: Sequence[str]) -> Iterator[Vectors]:
    raise AssertionError(f"computed again: {texts}")


def texts(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


def opened(shared: Path, embedder: str = "e") -> VectorCache:
    return VectorCache(shared, embedder, DIMENSION)


def store(shared: Path, wanted: Sequence[str]) -> None:
    cache = opened(shared)
    assert cache.through(wanted, blocks).tolist() == encode(wanted).tolist()
    cache.flush()


def segments(shared: Path) -> list[Path]:
    return sorted((shared / "embeddings" / "e").glob("seg-*"))


def test_what_was_stored_is_not_computed_again(tmp_path: Path) -> None:
    store(tmp_path, texts(5, 3, 9, 3))
    assert opened(tmp_path).through(texts(9, 3, 5), refuse).tolist() == encode(texts(9, 3, 5)).tolist()


def test_only_what_is_missing_is_computed_and_of_equal_texts_one(tmp_path: Path) -> None:
    store(tmp_path, texts(1, 2))
    asked: list[str] = []

    def recording(wanted: Sequence[str]) -> Iterator[Vectors]:
        asked.extend(wanted)
        return blocks(wanted)

    wanted = texts(9, 3, 1, 4, 3, 9, 3, 1)
    cache = opened(tmp_path)
    assert cache.through(wanted, recording).tolist() == encode(wanted).tolist()
    cache.flush()
    assert asked == ["9", "3", "4"]
    assert opened(tmp_path).through(wanted, refuse).tolist() == encode(wanted).tolist()


def test_what_was_computed_before_a_failure_is_stored(tmp_path: Path) -> None:
    def failing(wanted: Sequence[str]) -> Iterator[Vectors]:
        for number, block in enumerate(blocks(wanted)):
            if number == 2:
                raise KeyboardInterrupt
            yield block

    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path).through(texts(*range(10)), failing)
    known, _ = opened(tmp_path).lookup(module.text_keys(texts(*range(10))))
    assert known.tolist() == [True] * 4 + [False] * 6


def test_with_keep_after_vectors_are_stored_while_the_rest_is_computed(tmp_path: Path) -> None:
    seen: list[int] = []

    def watched(wanted: Sequence[str]) -> Iterator[Vectors]:
        for block in blocks(wanted):
            known, _ = opened(tmp_path).lookup(module.text_keys(wanted))
            seen.append(int(known.sum()))
            yield block

    opened(tmp_path).through(texts(*range(10)), watched, keep_after=4)
    assert seen == [0, 0, 4, 4, 8]


def test_a_vector_too_few_is_an_error_and_not_a_shift(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 vectors for 3 texts"):
        opened(tmp_path).through(texts(1, 2, 3), lambda wanted: [encode(wanted[:2])])


def test_embedders_do_not_see_each_others_vectors(tmp_path: Path) -> None:
    store(tmp_path, texts(1))
    known, _ = opened(tmp_path, "other").lookup(module.text_keys(texts(1)))
    assert not known.any()


def test_many_segments_become_one_and_keep_every_vector(tmp_path: Path) -> None:
    for number in range(module.MAX_SEGMENTS + 1):
        store(tmp_path, texts(number, number + 1))
    assert len(segments(tmp_path)) == 1
    everything = texts(*range(module.MAX_SEGMENTS + 2))
    assert opened(tmp_path).through(everything, refuse).tolist() == encode(everything).tolist()
    assert not [path for path in (tmp_path / "embeddings" / "e").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["keys.npy", "vectors.npy", "segment.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_a_damaged_segment_is_set_aside_and_computed_again(tmp_path: Path, name: str, damage: str) -> None:
    store(tmp_path, texts(1, 2))
    path = segments(tmp_path)[0] / name
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    changed = {"truncate": bytes(raw[: len(raw) // 2]), "flip": bytes(raw), "empty": b"", "remove": None}[damage]
    path.unlink() if changed is None else path.write_bytes(changed)
    store(tmp_path, texts(1, 2))
    assert len(segments(tmp_path)) == 1
    assert len(list((tmp_path / "embeddings" / "e").glob(".bad-*"))) == 1
    assert opened(tmp_path).through(texts(1, 2), refuse).tolist() == encode(texts(1, 2)).tolist()


def test_a_segment_of_another_embedder_or_dimension_is_not_trusted(tmp_path: Path) -> None:
    store(tmp_path, texts(1))
    foreign = tmp_path / "embeddings" / "f"
    foreign.mkdir()
    segments(tmp_path)[0].rename(foreign / "seg-0")
    assert not opened(tmp_path, "f").lookup(module.text_keys(texts(1)))[0].any()
    store(tmp_path, texts(1))
    assert not VectorCache(tmp_path, "e", DIMENSION + 1).lookup(module.text_keys(texts(1)))[0].any()


def test_a_segment_that_vanished_in_a_merge_is_a_miss(tmp_path: Path) -> None:
    store(tmp_path, texts(1))
    cache = opened(tmp_path)
    segments(tmp_path)[0].rename(tmp_path / "gone")
    assert cache.through(texts(1), blocks).tolist() == encode(texts(1)).tolist()
    assert not list((tmp_path / "embeddings" / "e").glob(".bad-*"))


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import pathlib, test_vector_cache as t
for number in range(int(sys.argv[1]), int(sys.argv[1]) + 30):
    t.store(pathlib.Path({str(tmp_path)!r}), t.texts(number, number + 1000))
"""
    writers = [subprocess.Popen([sys.executable, "-c", script, start]) for start in ("0", "15")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    cache = opened(tmp_path)
    everything = texts(*range(45), *range(1000, 1045))
    known, vectors = cache.lookup(module.text_keys(everything))
    assert vectors[known].tolist() == encode([text for text, found in zip(everything, known, strict=True) if found]).tolist()
    assert known.all()
    assert not list((tmp_path / "embeddings" / "e").glob(".bad-*"))


def test_a_large_segment_is_not_written_again_with_small_ones(tmp_path: Path) -> None:
    store(tmp_path, texts(*range(100)))
    [large] = segments(tmp_path)
    inode = (large / "vectors.npy").stat().st_ino
    for number in range(100, 100 + 3 * module.MAX_SEGMENTS):
        store(tmp_path, texts(number))
    assert (large / "vectors.npy").stat().st_ino == inode
    assert len(segments(tmp_path)) <= module.MAX_SEGMENTS
    everything = texts(*range(100 + 3 * module.MAX_SEGMENTS))
    assert opened(tmp_path).through(everything, refuse).tolist() == encode(everything).tolist()


def test_only_the_blocks_that_are_asked_for_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 4)
    store(tmp_path, texts(*range(40)))
    [segment] = segments(tmp_path)
    keys = module.text_keys(texts(*range(40)))
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    raw = bytearray((segment / "vectors.npy").read_bytes())
    # The last number of the last row.
    raw[-3] ^= 1
    (segment / "vectors.npy").write_bytes(raw)
    first, last = texts(int(order[0])), texts(int(order[-1]))
    assert opened(tmp_path).through(first, refuse).tolist() == encode(first).tolist()
    known, _ = opened(tmp_path).lookup(module.text_keys(last))
    assert not known.any() and not segments(tmp_path)
