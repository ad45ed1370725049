"""`indexctl related`: what it prints, and what it says to those who ask wrongly."""

from __future__ import annotations

from typing import Any

import pytest


def identifier(world: Any, query: str) -> str:
    return str(world("search", query, "-k", "1", "--json").json["results"][0]["id"])


def test_the_answer_has_the_documented_shape(built: Any) -> None:
    chunk = identifier(built, "berth_fee")
    answer = built("related", chunk, "-k", "3", "--json").json
    assert sorted(answer) == ["behind", "channels", "chunk", "duplicates", "repo", "results", "stale", "version"]
    assert answer["chunk"]["id"] == chunk and answer["chunk"]["uri"] == "harbour/fees.py"
    assert sorted(answer["channels"]) == ["duplicates", "same file", "symbols", "vectors"]
    assert len(answer["results"]) == 3 and chunk not in {hit["id"] for hit in answer["results"]}
    searched = built("search", "berth_fee", "-k", "1", "--json").json["results"][0]
    assert all(sorted(hit) == sorted(searched) for hit in answer["results"])


def test_people_see_places_and_why_and_ids_on_request(built: Any) -> None:
    chunk = identifier(built, "berth_fee")
    plain, explained = built("related", chunk), built("related", chunk, "--explain")
    assert plain.code == 0 and plain.out.startswith("near harbour/fees.py:") and "harbour/tides.py:" in plain.out
    assert "vectors 0." in plain.out and "gives" not in plain.out
    assert "gives" in explained.out and "   id " in explained.out


@pytest.mark.parametrize(
    ("chunk", "code"), [("12", 3), ("abc", 2), ("", 2), ("99999999999999999999", 2), ("9" * 10_000, 2), ("١٢", 2), ("1e3", 2)]
)
def test_what_is_no_chunk_is_told_in_a_sentence(built: Any, chunk: str, code: int) -> None:
    done = built("related", chunk)
    assert (done.code, done.out) == (code, "") and "chunk" in done.err and len(done.err) < 300


def test_damaged_vectors_are_one_warning(world: Any) -> None:
    chunk = identifier(world, "berth_fee")
    path = world.published / "faiss.index"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])
    human = world("related", chunk)
    assert human.code == 0 and human.err.count("warning: the vectors") == 1 and "faiss.index" in human.err
    answer = world("related", chunk, "--json").json
    assert answer["channels"]["vectors"]["state"] == "broken" and answer["channels"]["vectors"]["reason"]


def test_an_index_that_is_behind_says_so(world: Any) -> None:
    chunk = identifier(world, "berth_fee")
    (world.repo / "harbour/tides.py").write_text("def ebb(): pass\n")
    assert world("related", chunk, "--json").json["stale"] is True
    assert "1 file changed" in world("related", chunk).err
    assert world("show", chunk, "--json").json["behind"]["files"] == 1
    assert "1 file changed" in world("show", chunk).err
