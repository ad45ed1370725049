"""Queries made from a repository: what is asked, which chunks answer, and that the halves share nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tables
from pipeline.artefacts import Base
from pipeline.config import ChunkSettings, CstSettings, IndexSettings, QuerySettings, ScipSettings, Settings
from pipeline.evaluation.queries import TEST, TUNE, Query, read_queries
from pipeline.evaluation.queries_stage import eval_queries
from pipeline.evaluation.synthesis.drafts import is_of_lines
from pipeline.evaluation.synthesis.files import files_of, module_prefixes
from pipeline.evaluation.synthesis.prose import without_words_of
from pipeline.evaluation.synthesis.sampling import seated
from pipeline.index.tuning.locked_point import UNLOCKED
from pipeline.schemas import Chunks, Definitions, EvalQueries, Modules
from pipeline.source.history import read_history
from pipeline.source.scan import scan
from pipeline.stage import Artefact, Output
from pipeline.stages import EVAL_QUERIES, STAGES
from pipeline.store.layout import create_store
from pipeline.store.settling import settle
from pipeline.workers import Runtime

SETTINGS = Settings(
    chunks=ChunkSettings(chunk_budget=60), scip=ScipSettings(scip="off"), cst=CstSettings(cst=False),
    index=IndexSettings(faiss_family="hnsw"),
)  # fmt: skip
"""An index that is tuned, so that there are queries to tune it on."""
THINGS = ("anchor", "berth", "cargo", "dock", "engine", "ferry", "galley", "hull", "ladder", "mast", "pier", "rudder")
LINES = "".join(f"    total += weight * {number} + ballast - {number}\n" for number in range(40))


def _module(thing: str) -> str:
    name = thing.capitalize()
    return (
        f'"""Keeps the books of every {thing} in the harbour."""\n\n\n'
        f'def inspect_{thing}(weight):\n    """Return the yearly inspection report of a rusty {thing}."""\n'
        "    return weight\n\n\n"
        f'def paint_{thing}(weight):\n    """Paint the outside of a {thing} with red lead primer."""\n'
        f"    return inspect_{thing}(weight)\n\n\n"
        f'class {name}Register:\n    """The official register in which each {thing} is listed by age."""\n\n'
        f"    limit = 12\n\n"
        f"    def oldest_{thing}(self, weight, ballast):\n"
        f'        """Find the {thing} that was registered before all others."""\n'
        f"        total = 0\n{LINES.replace('    total', '        total')}        return total\n\n"
        f"    def close_quietly(self):\n        return {thing!r}\n"
    )


def _tests(thing: str) -> str:
    return (
        f"from yard.{thing} import paint_{thing}\n\n\n"
        f"def test_paint_{thing}_dries_before_rain():\n    assert paint_{thing}(1) == 1\n"
    )


TWINS = (
    '"""Reads rows."""\n\n\ndef fetch_row(key):\n'
    '    """Fetch the row that belongs to one customer key."""\n    return key\n\n\n'
    "async def afetch_row(key):\n"
    '    """Fetch the row that belongs to one customer key."""\n    return key\n\n\n'
    "class Opened:\n    def rewind_tape(self):\n        return 1\n\n\n"
    "class Closed:\n    def rewind_tape(self):\n        return 2\n"
)
SHAPES = "/** Measures the slanted side of a pyramid roof. */\nexport function slantedSide(width) {\n  return width * 2;\n}\n"
TREE: Mapping[str, str] = {
    **{f"yard/{thing}.py": _module(thing) for thing in THINGS},
    **{f"tests/test_{thing}.py": _tests(thing) for thing in THINGS},
    "rows/twins.py": TWINS,
    "dist/esm/shapes.js": SHAPES,
    "dist/cjs/shapes.js": SHAPES,
    "README.md": "# Harbour\n\nKeeps ships.\n",
}


@dataclass(frozen=True)
class World:
    """Artefacts up to the queries, and the queries that were made."""

    artefacts: dict[str, Artefact[Any]]

    def make(self, out: Path, **settings: Any) -> list[Query]:
        """Make queries with other settings."""
        out.mkdir()
        inputs = {name: self.artefacts[kind.asset] for name, kind in EVAL_QUERIES.inputs.items()}
        eval_queries(**inputs, settings=QuerySettings(**settings), index=SETTINGS.index, base=Base(), out=Output(out))
        return read_queries(out)

    @property
    def root(self) -> Path:
        return self.artefacts["eval_queries"].path

    @property
    def queries(self) -> list[Query]:
        return read_queries(self.root)

    def rows(self, kind: Any) -> list[dict[str, Any]]:
        return tables.read_table(self.artefacts[kind.asset].path, kind).to_pylist()

    def asked(self, text: str) -> Query:
        """The query with a text."""
        [found] = [query for query in self.queries if query.query == text]
        return found

    def places(self, query: Query) -> list[tuple[int, str]]:
        """The answer and content of each positive."""
        contents = {row["id"]: row["content"] for row in self.rows(Chunks)}
        return [(answer, contents[one]) for answer, one in zip(query.answers, query.positives, strict=True)]


def _build(folder: Path, tree: Mapping[str, str]) -> World:
    for uri, content in tree.items():
        path = folder / "tree" / uri
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    store = create_store(folder / "data")
    repository = store.repository("harbour")
    scanned = scan(folder / "tree", settings=SETTINGS.source)
    history = read_history(folder / "tree", commit=None, days=SETTINGS.modules.churn_days)
    made: dict[str, Artefact[Any]] = {}
    wanted = {"embeddings", "lexical_index", "splade_index", "xtr_index", "faiss_index", "faiss_idmap"}
    for stage in STAGES[: STAGES.index(EVAL_QUERIES) + 1]:
        if not wanted.intersection(stage.assets):
            inputs = {kind.asset: made[kind.asset] for kind in stage.inputs.values()}
            externals = {"scan": scanned, "history": history, "lock": UNLOCKED}
            runtime = Runtime(shared=store.shared)
            made |= settle(repository, stage, inputs, SETTINGS, externals=externals, runtime=runtime).artefacts
    return World(made)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Not to be changed."""
    return _build(tmp_path_factory.mktemp("synthesis"), TREE)


def test_every_label_asks(world: World) -> None:
    labels = {query.label for query in world.queries}
    assert labels == {"name", "docstring", "usage", "test", "module", "preview"}


def test_the_halves_share_no_file_and_no_text(world: World) -> None:
    uri_of = {row["id"]: row["uri"] for row in world.rows(Chunks)}
    files: dict[str, set[str]] = {TEST: set(), TUNE: set()}
    texts: dict[str, list[str]] = {TEST: [], TUNE: []}
    for query in world.queries:
        files[query.split] |= {query.uri, *(uri_of[one] for one in query.positives)}
        if query.label == "test":
            # The test that the words are from, too.
            files[query.split] |= {uri_of[one] for one in query.neutral}
        texts[query.split].append(query.query.lower())
    assert files[TEST] and files[TUNE] and not files[TEST] & files[TUNE]
    assert len(set(texts[TEST] + texts[TUNE])) == len(texts[TEST]) + len(texts[TUNE])


def test_positives_are_chunks_that_overlap_what_is_asked_for(world: World) -> None:
    chunks = {row["id"]: row for row in world.rows(Chunks)}
    spans = {(row["uri"], row["qualified_name"]): row for row in world.rows(Definitions)}
    seen = 0
    for query in world.queries:
        assert query.positives and len(set(query.positives)) == len(query.positives) == len(query.answers)
        assert set(query.answers) == set(range(max(query.answers) + 1)) and not set(query.neutral) & set(query.positives)
        if query.label in ("module", "preview") or "shapes" in query.uri or not is_of_lines(query.query):
            continue
        own = spans[query.uri, query.symbol]
        overlapping = {
            one for one, row in chunks.items()
            if row["uri"] == query.uri and row["start_byte"] < own["end_byte"] and row["end_byte"] > own["start_byte"]
        }  # fmt: skip
        if own["kind"] in ("function", "method") and "fetch" not in query.symbol and len(set(query.answers)) == 1:
            assert set(query.positives) == overlapping
            seen += len(overlapping) > 1
    assert seen


def test_of_a_class_its_head_answers_and_not_its_members(world: World) -> None:
    asked = [query for query in world.queries if query.label == "name" and query.symbol.endswith("Register")]
    assert asked
    for query in asked:
        contents = [content for _, content in world.places(query)]
        assert any("Register:" in content for content in contents)
        # The long member is cut into chunks of its own.
        assert not any("weight * 39" in content for content in contents)


def test_what_is_asked_as_a_question_or_a_few_words_any_chunk_of_the_file_answers(world: World) -> None:
    uri_of = {row["id"]: row["uri"] for row in world.rows(Chunks)}
    asked = [query for query in world.queries if query.label == "docstring" and not is_of_lines(query.query)]
    assert asked
    for query in asked:
        for answer in set(query.answers):
            found = {one for one, number in zip(query.positives, query.answers, strict=True) if number == answer}
            assert found == {one for one, uri in uri_of.items() if uri in {uri_of[first] for first in found}}


def test_a_module_is_answered_by_any_chunk_of_its_file_and_counts_once(world: World) -> None:
    sizes = Counter(row["uri"] for row in world.rows(Chunks))
    asked = [query for query in world.queries if query.label == "module"]
    assert asked and all(len(query.positives) == sizes[query.uri] > 3 and set(query.answers) == {0} for query in asked)


def test_what_is_documented_with_the_same_words_is_one_answer(world: World) -> None:
    [query] = [query for query in world.queries if query.label == "docstring" and query.uri == "rows/twins.py"]
    assert set(query.answers) == {0}
    contents = "".join(content for _, content in world.places(query))
    assert "def fetch_row" in contents and "async def afetch_row" in contents


def test_definitions_of_one_name_are_an_answer_each(world: World) -> None:
    found = [query for query in world.queries if query.label == "name" and query.query == "rewind_tape"]
    # Asked bare or with its owner, by its draw; bare, both answer.
    for query in found:
        assert "return 1" in world.places(query)[0][1]
    assert not any(query.query == "close_quietly" for query in world.queries), "twelve answers are no answer"
    assert {query.query for query in world.queries if query.symbol.endswith(".close_quietly") and query.label == "name"} <= {
        f"{thing.capitalize()}Register.close_quietly" for thing in THINGS
    }


def test_copies_of_a_chunk_and_forms_of_a_module_are_one_answer(world: World) -> None:
    asked = [query for query in world.queries if "shapes" in query.uri and query.label in ("name", "docstring")]
    assert asked
    for query in asked:
        assert len(query.positives) == 2 and set(query.answers) == {0}


def test_finding_a_copy_is_as_good_as_finding_the_original(tmp_path: Path) -> None:
    uris = [f"copy{number}/roof{number}.js" for number in range(6)]
    halves = files_of(uris, ["javascript"] * 6, np.ones(6, np.int64)).is_test_half.tolist()
    same = [uri for uri, half in zip(uris, halves, strict=True) if half][:2]
    code = "export function slantedSide(width) {\n  return width * 2;\n}\n"
    [query] = [one for one in _build(tmp_path, dict.fromkeys(same, code)).queries if one.query == "slantedSide"]
    assert len(query.positives) == 2 and query.answers == (0, 0)


def test_masked_queries_carry_the_documentation_and_not_the_name_of_their_answer(world: World) -> None:
    docs = {row["doc"] for row in world.rows(Definitions)} | {row["doc"] for row in world.rows(Modules)}
    maskable = [query for query in world.queries if query.label in ("docstring", "usage", "module")]
    masked = [query for query in world.queries if query.mask is not None]
    assert masked and len(masked) < len(maskable)
    for query in masked:
        assert query in maskable and query.mask in docs
        name = query.symbol.rpartition(".")[2]
        assert name not in query.query.split()
        if query.label == "docstring":
            assert without_words_of(query.query, name) == query.query


def test_usage_asks_for_the_caller_by_what_it_calls_and_does(world: World) -> None:
    asked = [query for query in world.queries if query.label == "usage"]
    assert asked
    for query in asked:
        thing = query.uri.rpartition("/")[2].partition(".")[0]
        assert query.symbol == f"paint_{thing}" and f"inspect_{thing}" in query.query and "paint the outside" in query.query


def test_a_test_asks_for_what_it_tests_and_its_own_chunks_count_neither_way(world: World) -> None:
    uri_of = {row["id"]: row["uri"] for row in world.rows(Chunks)}
    asked = [query for query in world.queries if query.label == "test"]
    assert asked
    for query in asked:
        thing = query.uri.rpartition("/")[2].partition(".")[0]
        assert query.query == f"paint {thing} dries before rain" and query.symbol == f"paint_{thing}"
        assert {uri_of[one] for one in query.neutral} == {f"tests/test_{thing}.py"}


def test_a_test_of_a_member_is_answered_by_the_member_too(tmp_path: Path) -> None:
    tree = {
        "a/crane.py": "class CargoCrane:\n    def __init__(self):\n        self.load = 0\n\n    def other(self):\n"
        f"        total = 0\n{LINES.replace('    total', '        total')}\n"
        "    def lift_slowly(self):\n        return 'slow lift'\n",
        # Of each of these one falls into the half of the crane.
        **{
            f"{place}/test_crane.py": "from a.crane import CargoCrane\n\n\n"
            f"def test_cargo_crane_lift_slowly_{place}():\n    CargoCrane()\n"
            for place in ("tests", "test", "specs/tests", "more/tests")
        },
    }
    world = _build(tmp_path, tree)
    asked = [query for query in world.queries if query.label == "test"]
    assert asked
    for query in asked:
        contents = "".join(content for _, content in world.places(query))
        assert "class CargoCrane" in contents and "slow lift" in contents and "weight * 20" not in contents
        assert set(query.answers) == {0}


def test_nobody_asks_for_what_tests_and_documents_define(world: World) -> None:
    asked = [query for query in world.queries if query.label != "preview"]
    assert not [query for query in asked if query.uri.startswith("tests/") or query.uri.endswith(".md")]


def test_people_ask_in_several_forms(world: World) -> None:
    intents = [query.query for query in world.queries if query.label in ("docstring", "module")]
    assert any(text.startswith(("how to ", "where ", "which ", "what ")) for text in intents)
    assert any(text.endswith(".") for text in intents)
    assert any(len(text.split()) <= 7 and not text.endswith(".") and not text.startswith("how") for text in intents)


def test_equal_inputs_give_equal_bytes(world: World, tmp_path: Path) -> None:
    world.make(tmp_path / "again")
    for name in (EvalQueries.FILE, EvalQueries.JSONL):
        assert (tmp_path / "again" / name).read_bytes() == (world.root / name).read_bytes()


def test_so_many_test_queries_as_wanted_and_none_where_none_are(world: World, tmp_path: Path) -> None:
    few = [query for query in world.make(tmp_path / "few", eval_queries=9) if query.split == TEST]
    assert len(few) == 9 and {query.qid for query in few} <= {query.qid for query in world.queries}
    none = world.make(tmp_path / "none", eval_queries=0)
    assert none and {query.split for query in none} == {TUNE}


def test_previews_only_fill_up_what_an_index_is_tuned_on(world: World) -> None:
    previews = [query for query in world.queries if query.label == "preview"]
    assert previews and all(query.split == TUNE and query.mask is None for query in previews)


def test_names_are_no_more_than_all_others(world: World, tmp_path: Path) -> None:
    labels = Counter(query.label for query in world.make(tmp_path / "a", eval_queries=60) if query.split == TEST)
    assert labels["name"] <= labels.total() - labels["name"]


def test_facts_count_by_label_half_and_language(world: World) -> None:
    facts, queries = world.artefacts["eval_queries"].facts, world.queries
    assert facts["queries"] == len(queries) and facts["format"] == 1
    assert facts["splits"] == dict(sorted(Counter(query.split for query in queries).items()))
    assert facts["masked"][TEST] == sum(query.split == TEST and query.mask is not None for query in queries)
    for split in (TEST, TUNE):
        assert facts["labels"][split] == dict(sorted(Counter(one.label for one in queries if one.split == split).items()))


def test_most_queries_stay_when_a_file_comes(world: World, tmp_path: Path) -> None:
    other = _build(tmp_path, {**TREE, "yard/winch.py": _module("winch"), "office/papers.py": _module("paper")})
    before = {query.qid: query.split for query in world.make(tmp_path / "before", eval_queries=30)}
    after = {query.qid: query.split for query in other.make(tmp_path / "after", eval_queries=30)}
    shared = before.keys() & after.keys()
    assert all(before[qid] == after[qid] for qid in shared)
    test = [qid for qid, split in before.items() if split == TEST]
    assert len(shared.intersection(test)) >= 0.8 * len(test)


def test_a_repository_without_code_or_without_anything_has_queries_or_none(tmp_path: Path) -> None:
    bare = _build(tmp_path / "bare", {"a.txt": "1\n"})
    assert {query.split for query in bare.queries} <= {TUNE}
    prose = _build(tmp_path / "prose", {"README.md": "# Harbour\n\nKeeps ships.\n\n## Fees\n\nWhat a night costs.\n"})
    assert {query.split for query in prose.queries} <= {TUNE}


def test_a_repository_of_tests_alone_is_asked_for_its_tests(tmp_path: Path) -> None:
    world = _build(tmp_path, {"tests/harness.py": _module("harness")})
    assert {query.split for query in world.queries if query.label != "preview"} == {TEST}


def test_the_smallest_repository_has_test_queries() -> None:
    for name in ("a.py", "b.py", "c.py", "d.py", "e.py"):
        assert files_of([name], ["python"], np.array([1])).is_test_half.tolist() == [True]


def test_large_folders_have_more_seats_and_not_all() -> None:
    strata = np.repeat([0, 1, 2], [900, 90, 9])
    order = seated(strata, list(range(999)))
    seats = np.bincount(strata[order[:100]], minlength=3)
    assert seats[0] > seats[1] > seats[2] >= 5 and seats[0] < 80
    assert sorted(order.tolist()) == list(range(999))


def test_a_module_prefix_is_as_deep_as_it_needs_to_be() -> None:
    uris = [f"src/core/{name}/a.py" for name in "abcdefgh"] + ["src/side/x/a.py", "tools/b.py", "c.py"]
    prefixes = module_prefixes(uris, np.array([50] * 8 + [3, 3, 3]))
    assert prefixes[:2] == ["src/core/a", "src/core/b"] and prefixes[-3:] == ["src/side", "tools", ""]
