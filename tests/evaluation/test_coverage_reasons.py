"""Why a definition is missed, what it is asked by, and which are asked for: without an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.evaluation.asking import Reply
from pipeline.evaluation.cover.looking import Seen, seen_in
from pipeline.evaluation.cover.reasons import Namesakes, of_search
from pipeline.evaluation.cover.sample import sample
from pipeline.evaluation.cover.structure import ChunkRows, DefinitionRows, FileRows, Structure
from pipeline.evaluation.cover.wording import queries_of
from pipeline.search.adjustments import Adjusted
from pipeline.search.channels.interface import Asked, Found
from pipeline.search.channels.registry import CHANNELS, Consulted, State
from pipeline.search.diversity import Demotion
from pipeline.search.fusion import Ranking
from pipeline.search.query import parse_query
from pipeline.search.ranking import Ranked

K = 2


def structure(definitions: Sequence[tuple[str, str, str]], langs: Mapping[str, str] | None = None) -> Structure:
    """Definitions as (file, qualified name, documentation), each in a chunk of its own, whose id is 10 and its number."""
    uris = list(dict.fromkeys(uri for uri, _, _ in definitions))
    count = len(definitions)
    numbers = np.arange(count, dtype=np.int64)
    files = np.array([uris.index(uri) for uri, _, _ in definitions], np.int64)
    ones = np.ones(len(uris), np.int64)
    return Structure(
        FileRows(uris, [(langs or {}).get(uri, "python") for uri in uris], ones, ones, ones.astype(np.bool_), {}),
        ChunkRows(numbers + 10, files, numbers, numbers + 1, numbers.astype(np.uint64)),
        DefinitionRows(
            files, [name.rpartition(".")[2] for _, name, _ in definitions], [name for _, name, _ in definitions],
            ["function"] * count, [doc for *_, doc in definitions], numbers, numbers, numbers, numbers + 1,
            np.ones(count, np.bool_), {},
        ),
    )  # fmt: skip


def given(
    scores: Sequence[float], factors: Mapping[str, Sequence[float]] | None = None, copies: Mapping[int, Demotion] | None = None
) -> Reply:
    """A reply whose candidates are 10, 11, … with these scores; the channel `lexical` had them in the order of their ids."""
    candidates = np.arange(10, 10 + len(scores), dtype=np.int64)
    values = np.asarray(scores, np.float64)
    adjusted = Adjusted(values, {name: np.asarray(each, np.float64) for name, each in (factors or {}).items()})
    lexical = Consulted(CHANNELS[0], State.ANSWERED, Found(Ranking(candidates, np.ones(len(scores), np.float32))))
    dense = Consulted(CHANNELS[1], State.SILENT)
    ranked = Ranked(candidates, {}, values, adjusted, values, dict(copies or {}), {})
    return Reply("query", Asked(parse_query("query"), 9), {"lexical": lexical, "dense": dense}, ranked)


def ids(*chunks: int) -> Any:
    return np.array(chunks, np.int64)


def reason(seen: Seen, *, by_name: bool = False, of: Structure | None = None) -> str:
    of = of or structure([("a.py", "run", "")])
    return of_search(seen, 0, K, by_name=by_name, namesakes=Namesakes(of))


def test_the_best_of_several_chunks_is_where_a_definition_stands() -> None:
    seen = seen_in(given([0.1, 0.5, 0.9, 0.7]), ids(10, 13), K)
    assert (seen.rank, seen.channels) == (2, ("lexical",))
    assert seen_in(given([0.1, 0.5, 0.9]), ids(12), K).channels == ()


def test_beyond_k_and_not_at_all_are_two_things() -> None:
    assert reason(seen_in(given([0.9, 0.8, 0.7]), ids(12), K)) == "below k"
    assert reason(seen_in(given([0.9, 0.8, 0.7]), ids(99), K)) == "not in the pool"


@pytest.mark.parametrize(
    ("name", "said"), [("test", "role: test"), ("vendored", "role: vendored"), ("further chunk of its file", "same file")]
)
def test_a_factor_is_the_reason_where_it_alone_keeps_the_definition_out(name: str, said: str) -> None:
    assert reason(seen_in(given([0.9, 0.8, 0.5], {name: [1, 1, 0.5]}), ids(12), K)) == said
    # Without it the definition would still be third.
    assert reason(seen_in(given([0.9, 0.8, 0.3], {name: [1, 1, 0.5]}), ids(12), K)) == "below k"


def test_two_roles_are_taken_away_together() -> None:
    both = {"test": [1, 1, 0.5], "vendored": [1, 1, 0.5]}
    assert reason(seen_in(given([0.9, 0.8, 0.3], both), ids(12), K)) == "role: test+vendored"


def test_a_near_copy_is_the_reason_where_it_would_be_within_k_otherwise() -> None:
    pushed = {2: Demotion(0.7, 0)}
    assert reason(seen_in(given([0.9, 0.8, 0.6], copies=pushed), ids(12), K)) == "near-copy"
    assert reason(seen_in(given([0.9, 0.8, 0.2], copies=pushed), ids(12), K)) == "below k"


def test_namesakes_are_the_reason_only_where_without_them_it_would_be_within_k_and_the_name_was_asked() -> None:
    world = structure([("a.py", "A.run", ""), ("b.py", "B.run", ""), ("c.py", "C.other", "")])
    # Chunk 10 is the definition's, 11 that of a namesake, 12 that of another.
    seen = seen_in(given([0.1, 0.9, 0.8]), ids(10), K)
    assert reason(seen, by_name=True, of=world) == "namesake"
    assert reason(seen, by_name=False, of=world) == "below k"
    lower = seen_in(given([0.1, 0.9, 0.8, 0.7]), ids(10), K)
    assert reason(lower, by_name=True, of=world) == "below k"


def test_a_pool_that_namesakes_fill_is_their_doing() -> None:
    world = structure([("a.py", "A.run", ""), *((f"{number}.py", f"B{number}.run", "") for number in range(3))])
    assert reason(seen_in(given([0, 3, 2, 1]), ids(99), K), by_name=True, of=world) == "namesake"


def test_a_name_is_qualified_as_far_as_it_must_be() -> None:
    world = structure([
        ("a.py", "only", ""), ("a.py", "A.run", ""), ("b.py", "B.run", ""), ("c.py", "X.Y.go", ""), ("d.py", "Z.Y.go", ""),
        ("e.py", "Same.name", ""), ("f.py", "Same.name", ""),
    ])  # fmt: skip
    asked = queries_of(world.definitions, np.arange(7))
    assert asked == [(name, True) for name in ("only", "A.run", "B.run", "X.Y.go", "Z.Y.go", "Same.name", "Same.name")]


def test_a_sentence_of_its_own_is_asked_and_one_that_several_share_is_not() -> None:
    said, shared = "Count the barnacles below the waterline. More of it.", "Return the keel of the hull in metres."
    world = structure(
        [("a.py", "count", said), ("a.py", "one", shared), ("b.py", "two", shared.lower()), ("c.py", "three", "Keel.")]
    )
    assert queries_of(world.definitions, np.arange(4)) == [
        ("Count the barnacles below the waterline.", False), ("one", True), ("two", True), ("three", True),
    ]  # fmt: skip


def many(folders: Mapping[str, int]) -> list[tuple[str, str, str]]:
    return [(f"{folder}/m{number % 3}.py", f"f{number}", "") for folder, count in folders.items() for number in range(count)]


def folders_of(world: Structure, rows: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for number in world.definitions.files[rows].tolist():
        folder = world.files.uris[number].rpartition("/")[0]
        found[folder] = found.get(folder, 0) + 1
    return found


def test_a_large_folder_gives_more_and_a_small_one_is_not_drowned() -> None:
    world = structure(many({"large": 900, "middle": 100, "small": 9, "tiny": 1}))
    found = folders_of(world, sample(world, 44))
    assert sum(found.values()) == 44 and found["tiny"] == 1
    assert 27 <= found["large"] <= 31 and 8 <= found["middle"] <= 11 and 2 <= found["small"] <= 4


def test_most_of_a_sample_is_also_in_that_of_the_next_version() -> None:
    before, after = (structure(many({"a": 300, "b": 200, "new": more})) for more in (0, 20))

    def chosen(world: Structure) -> set[tuple[str, str]]:
        rows = sample(world, 60)
        return {(world.files.uris[world.definitions.files[row]], world.definitions.qualified[row]) for row in rows.tolist()}

    first, second = chosen(before), chosen(after)
    kept = {one for one in second if not one[0].startswith("new/")}
    assert len(kept) < 60 and kept <= first
