"""Columns of words as numbers and bytes."""

from __future__ import annotations

import itertools

import pyarrow as pa

from pipeline.columns import bytes_of, spans_of, starting_with


def test_starts_are_compared_by_bytes_and_short_strings_do_not_overrun() -> None:
    strings = pa.array(["zz", "local 1", "loca", "", "local ", "älocal 1", "local"]).slice(1)
    assert starting_with(strings, "local ").tolist() == [True, False, False, True, False, False]
    assert starting_with(pa.array([], pa.string()), "local ").tolist() == []


def test_strings_are_spans_of_their_bytes_also_in_a_slice() -> None:
    words = ["zz", "é", "", "abc", "q"]
    for strings in (pa.array(words), pa.array(words).slice(1, 3), pa.array(words).slice(5), pa.array([], pa.string())):
        bounds, data = bytes_of(strings)
        assert bounds[0] == 0 and bounds[-1] == len(data)
        offsets, again = spans_of(data, bounds[:-1], bounds[1:])
        assert offsets.tolist() == bounds.tolist() and again.tobytes() == "".join(strings.to_pylist()).encode()
        found = [data[low:high].tobytes().decode() for low, high in itertools.pairwise(bounds)]
        assert found == strings.to_pylist()
