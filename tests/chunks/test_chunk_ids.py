"""Ids: fixed by their fields, positive, and checked for collisions."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.chunks import ids

GOLDEN_HASH = 10801903243346400073
GOLDEN_CONTENT = [6266032468699275659, 2993490700564573733]
GOLDEN_SPAN = [8584855367028589929, 2701287110414331633]


def test_ids_are_these_numbers_forever() -> None:
    assert ids.hash64(b"x = 1\n") == GOLDEN_HASH
    assert ids.content_ids("a/b.py", [GOLDEN_HASH, GOLDEN_HASH]) == GOLDEN_CONTENT
    assert ids.span_ids("a/b.py", [0, 6, 20], "salt") == GOLDEN_SPAN


def test_an_id_is_blake2b_of_the_joined_fields_little_endian_without_the_top_bit() -> None:
    digest = hashlib.blake2b("ä|7|0".encode(), digest_size=8).digest()
    assert ids.make_id("ä", 7, 0) == int.from_bytes(digest, "little") % 2**63


@given(st.text(), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_ids_are_positive_and_fit_int64(uri: str, content_hash: int, ordinal: int) -> None:
    assert 0 < ids.make_id(uri, content_hash, ordinal) < 2**63


def test_the_hash_zero_becomes_one(monkeypatch) -> None:
    monkeypatch.setattr(ids, "hash64", lambda data: 1 << 63)
    assert ids.make_id("a") == 1


def test_equal_contents_of_a_file_get_ordinals() -> None:
    found = ids.content_ids("a", [5, 6, 5, 5])
    assert found == [ids.make_id("a", 5, 0), ids.make_id("a", 6, 0), ids.make_id("a", 5, 1), ids.make_id("a", 5, 2)]


def test_the_salt_changes_span_ids() -> None:
    assert ids.span_ids("a", [0, 5], "x") != ids.span_ids("a", [0, 5], "y")


def test_a_collision_is_found_wherever_it_is() -> None:
    assert ids.find_collision(np.array([4, 9, 1, 9, 2])) == (1, 3)
    assert ids.find_collision(np.array([4, 9, 1])) is None
    assert ids.find_collision(np.zeros(0, np.int64)) is None
