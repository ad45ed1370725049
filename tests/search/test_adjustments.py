"""Structure's factors: roles of files, names of files, evidence of files, and further chunks of one file."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import SearchSettings
from pipeline.index.chunk_files import ROLES, ChunkFiles
from pipeline.search.adjustments import Adjusted, adjust, coverage
from pipeline.search.files import FileFacts
from pipeline.search.fusion import best_first
from pipeline.search.query import parse_query

NEUTRAL = {"same_file_factor": 1.0, "question_file_evidence": 0.0, "phrase_file_evidence": 0.0}
NEUTRAL |= {"file_name_match": 0.0, "folder_match": 0.0}
URIS = ["a/jar.py", "tests/test_jar.py", "b/cookie_policy.py"]
OWNERS = [0, 0, 1, 2]
"""The files of chunks 10, 11, 12 and 13."""


def adjusted(query: str, fused: list[float], *, roles: tuple[str, ...] = ("", "test", ""), **settings: float) -> Adjusted:
    bits = np.array([1 << ROLES.index(role) if role else 0 for role in roles], np.uint16)
    ids = np.arange(10, 14, dtype=np.int64)
    files = ChunkFiles(URIS, bits, ids, np.array(OWNERS, np.int32), np.zeros(len(OWNERS), np.int32))
    chosen = SearchSettings(**{**NEUTRAL, **settings})
    return adjust(ids, np.array(fused), FileFacts(files), parse_query(query), chosen)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_costs_its_factor_unless_the_query_asks_for_it(role: str) -> None:
    factor = {f"{role}_factor": 0.25}
    found = adjusted("jar", [1, 1, 1, 1], roles=("", role, ""), **factor)
    assert found.scores.tolist() == [1, 1, 0.25, 1]
    assert [found.of(row) for row in range(4)] == [{}, {}, {role: 0.25}, {}]


def test_a_query_that_names_tests_gets_them_unpunished() -> None:
    assert adjusted("tests of the jar", [1, 1, 1, 1]).scores.tolist() == [1, 1, 1, 1]


def test_each_better_chunk_of_the_file_costs_a_chunk_the_factor_once_more() -> None:
    found = adjusted("open the jar", [0.8, 1, 1, 0.9], roles=("", "", ""), same_file_factor=0.5)
    assert found.scores.tolist() == pytest.approx([0.4, 1, 1, 0.9])
    assert found.of(0) == {"further chunk of its file": 0.5}


def test_sentences_and_names_keep_further_chunks_as_they_are() -> None:
    for query in ("Open the jar.", "jar"):
        assert adjusted(query, [0.8, 1, 1, 0.9], roles=("", "", ""), same_file_factor=0.5).scores.tolist() == [0.8, 1, 1, 0.9]


def test_the_file_whose_chunks_hold_the_question_together_comes_before_one_with_a_single_better_chunk() -> None:
    scores = [0.9, 0.9, 0.1, 1.0]
    ids = np.arange(4, dtype=np.int64)
    assert best_first(ids, adjusted("how do jars open", scores).scores)[0] == 3
    assert best_first(ids, adjusted("how do jars open", scores, question_file_evidence=1.0).scores)[0] == 0


def test_a_file_counts_more_the_more_of_its_name_the_query_holds() -> None:
    found = adjusted("cookie handling", [1, 1, 1, 1], roles=("", "", ""), file_name_match=1.0)
    assert found.scores.tolist() == [1, 1, 1, 1.5]
    assert found.of(3) == {"file name": 1.5}


def test_a_file_counts_more_when_its_folder_is_named() -> None:
    uris = adjusted("b handling", [1, 1, 1, 1], roles=("", "", ""), folder_match=0.5)
    assert uris.scores.tolist() == [1, 1, 1, 1.5] and uris.of(3) == {"folder": 0.5 + 1}


def test_a_sentence_finds_what_is_private_unpunished() -> None:
    for query, factor in (("Open the jar with both hands.", 1.0), ("open the jar", 0.5)):
        assert adjusted(query, [1, 1, 1, 1], roles=("", "private", ""), private_factor=0.5).scores[2] == factor


def test_words_of_a_name_meet_longer_and_shorter_forms_but_not_single_letters() -> None:
    assert coverage(("auth",), ("authentication",)) == 1.0
    assert coverage(("configuration", "file"), ("config",)) == 0.5
    assert coverage(("io",), ("ionic",)) == 0.0
    assert coverage((), ("jar",)) == 0.0


def test_no_candidates_have_no_scores() -> None:
    files = ChunkFiles([], np.zeros(0, np.uint16), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))
    for query in ("jar", "how do jars open", "open the jar", "a/b.py"):
        empty = adjust(np.zeros(0, np.int64), np.zeros(0), FileFacts(files), parse_query(query), SearchSettings())
        assert empty.scores.shape == (0,)
