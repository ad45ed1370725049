"""Tracing: what is kept of a search, and that it never costs one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.config import SearchSettings, Settings, TraceSettings
from pipeline.schemas import TRACES, HybridContrib, HybridTopk, TracePool, TraceQueries, TraceTable
from pipeline.search import trace
from pipeline.search.engine import Answer, Filters, Searcher, open_searcher
from pipeline.search.explanation import explain
from pipeline.search.trace import Tracer
from pipeline.store import traces
from pipeline.store.layout import Store

QUERIES = ("berth fee", "next high tide", "Ship", "harbour/fees.py", "how is the berth fee worked out?", "!?")


def never(text: str) -> None:
    raise AssertionError(text)


@contextmanager
def tracing(world: Any, *, search: Any = None, warn: Any = never, **settings: int) -> Iterator[Tracer]:
    repository = Store(world.store).repository("demo")
    traces.switch(repository.traces, on=True)
    with (
        open_searcher(repository, Settings(search=search or SearchSettings())) as searcher,
        Tracer(searcher, TraceSettings(**settings), warn) as tracer,
    ):
        yield tracer


def kept(world: Any, kind: type[TraceTable]) -> list[dict[str, Any]]:
    found = [tables.plain(tables.read_part(one / kind.file_name(), kind)) for one in traces.sets(world.home / "trace")]
    return pa.concat_tables(found).to_pylist() if found else []


def asked(tracer: Tracer, query: str, **given: Any) -> Answer:
    answer = tracer.searcher.answer(query, **given)
    tracer.record(answer)
    return answer


@pytest.mark.parametrize("fusion", ["scores", "ranks"])
def test_what_is_kept_is_what_was_answered(world: Any, fusion: Any) -> None:
    with tracing(world, search=SearchSettings(fusion=fusion)) as tracer:
        answers = [asked(tracer, query, k=3) for query in QUERIES]
    queries = kept(world, TraceQueries)
    assert [row["query"] for row in queries] == list(QUERIES)
    for row, answer in zip(queries, answers, strict=True):
        assert (row["kind"], row["k"], row["results"]) == (answer.query.kind.value, 3, len(answer.hits))
        assert row["version"] == world.version and row["seconds"] == answer.seconds > 0
        assert {one["channel"]: one["state"] for one in row["channels"]} == {
            name: one.state.value for name, one in answer.channels.items()
        }
        topk = [one for one in kept(world, HybridTopk) if one["query_id"] == row["query_id"]]
        assert [(one["rank"], one["doc_id"], one["score"]) for one in topk] == [
            (hit.rank, hit.id, hit.score) for hit in answer.hits
        ]
        contributed = [one for one in kept(world, HybridContrib) if one["query_id"] == row["query_id"]]
        for hit in topk:
            mine = [one for one in contributed if one["doc_id"] == hit["doc_id"]]
            assert sum(one["contribution"] for one in mine) == pytest.approx(hit["fused_score"])
            assert {one["fused_score"] for one in mine} == {hit["fused_score"]}
        for hit in answer.hits:
            said = {
                one["channel"]: (one["rank_in_channel"], one["raw_score"]) for one in contributed if one["doc_id"] == hit.id
            }
            assert said.items() <= {name: (one.rank, one.score) for name, one in hit.channels.items()}.items()
            assert {name for name, one in hit.channels.items() if one.rank} <= said.keys()
    assert {row["k_rrf"] for row in kept(world, HybridContrib)} == ({SearchSettings().rrf_k} if fusion == "ranks" else {None})


def test_the_weight_is_what_the_best_chunk_of_a_channel_gets(world: Any) -> None:
    with tracing(world, search=SearchSettings(dense_weight=0.25)) as tracer:
        asked(tracer, "what does harbour/fees.py charge?")
    rows = kept(world, HybridContrib)
    for channel in ("lexical", "dense", "path"):
        mine = [row for row in rows if row["channel"] == channel]
        [weight] = {row["weight"] for row in mine}
        assert max(row["contribution"] for row in mine) == pytest.approx(weight)
    assert {row["weight"] for row in rows if row["channel"] == "path"} == {
        SearchSettings().path_weight * SearchSettings().embedded_path_factor
    }


def test_the_pool_is_what_each_channel_found_in_its_order(world: Any) -> None:
    with tracing(world) as tracer:
        answer = asked(tracer, "berth fee", k=1)
    pool = kept(world, TracePool)
    for name, one in answer.channels.items():
        mine = [row for row in pool if row["channel"] == name]
        ids = [] if one.found is None else one.found.ranking.ids.tolist()
        assert [row["chunk_id"] for row in mine] == ids and [row["rank"] for row in mine] == list(range(1, len(ids) + 1))
    assert {row["method"] for row in pool} == {"scores"}
    assert {tuple(row[f"explain_{what}"] for what in ("symbols", "ast_kinds", "cst_hits")) for row in pool} == {(None,) * 3}


def test_of_each_channel_only_so_many_are_kept(world: Any) -> None:
    with tracing(world, trace_pool=2) as tracer:
        answer = asked(tracer, "harbour", k=5)
    assert len(answer.hits) == 5
    for kind, column in ((TracePool, "channel"), (HybridContrib, "channel"), (HybridTopk, "query_id")):
        values = [row[column] for row in kept(world, kind)]
        assert values and all(values.count(value) <= 2 for value in values)
    assert kept(world, TraceQueries)[0]["results"] == 5


def test_what_an_explanation_said_is_kept_with_it(world: Any) -> None:
    with tracing(world) as tracer:
        answer = tracer.searcher.answer("berth fee", 1)
        matched = explain(tracer.searcher.opened, answer)
        tracer.record(answer, matched)
    rows = [row for row in kept(world, TracePool) if row["explain_symbols"] is not None]
    assert {row["chunk_id"] for row in rows} == {answer.hits[0].id}
    for row in rows:
        assert row["explain_symbols"] == list(matched[row["chunk_id"]].symbols) and row["explain_symbols"] == ["berth_fee"]
        assert "function_definition" in row["explain_ast_kinds"]
        assert row["explain_cst_hits"] == list(matched[row["chunk_id"]].cst_hits)


def test_filters_are_kept_and_a_search_that_no_chunk_passes_is_one(world: Any) -> None:
    with tracing(world) as tracer:
        asked(tracer, "berth", filters=Filters(lang=("rust",), path=("a/", "b/")))
    [row] = kept(world, TraceQueries)
    assert row["filters"] == ["lang=rust", "path=a/", "path=b/"] and (row["results"], row["channels"]) == (0, [])
    assert not kept(world, TracePool) and not kept(world, HybridContrib) and not kept(world, HybridTopk)


def test_nothing_is_kept_while_tracing_is_off_and_it_can_be_turned_while_a_searcher_is_open(world: Any) -> None:
    with tracing(world) as tracer:
        folder = tracer.searcher.version.repository.traces
        traces.switch(folder, on=False)
        asked(tracer, "not kept")
        assert tracer.flush() == {}
        traces.switch(folder, on=True)
        asked(tracer, "kept")
        traces.switch(folder, on=False)
    assert [row["query"] for row in kept(world, TraceQueries)] == ["kept"]


def test_a_query_of_any_characters_is_kept(world: Any) -> None:
    with tracing(world) as tracer:
        for query in ("\ud800 ship", "泊位\x00", "a\nb"):
            asked(tracer, query)
    assert [row["query"] for row in kept(world, TraceQueries)] == ["? ship", "泊位\x00", "a\nb"]


def test_searches_are_gathered_and_written_when_there_are_enough_or_they_waited(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(trace, "_MOST_WAITING", 3)
    folder = world.home / "trace"
    with tracing(world) as tracer:
        for count, sets in ((1, 0), (2, 0), (3, 1), (4, 1)):
            asked(tracer, f"berth {count}")
            assert len(traces.sets(folder)) == sets
        monkeypatch.setattr(trace, "_LONGEST_WAIT", -1.0)
        asked(tracer, "berth 5")
        assert len(traces.sets(folder)) == 2
    assert len(kept(world, TraceQueries)) == 5 and len(traces.sets(folder)) == 2


def test_old_sets_go_when_new_ones_come(world: Any) -> None:
    with tracing(world, trace_files=2) as tracer:
        for query in QUERIES[:4]:
            asked(tracer, query)
            tracer.flush()
    assert [row["query"] for row in kept(world, TraceQueries)] == list(QUERIES[2:4])


def test_threads_lose_nothing_and_every_search_has_an_id_of_its_own(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(trace, "_MOST_WAITING", 5)
    with tracing(world) as tracer, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: asked(tracer, f"berth {number}"), range(64)))
    rows = kept(world, TraceQueries)
    assert sorted(row["query"] for row in rows) == sorted(f"berth {number}" for number in range(64))
    assert len({row["query_id"] for row in rows}) == 64


_KILLED = """
import os, sys
from pathlib import Path
from pipeline.config import Settings
from pipeline.search import trace
from pipeline.search.engine import open_searcher
from pipeline.store.layout import Store
trace._MOST_WAITING = 2
with open_searcher(Store(Path(sys.argv[1])).repository("demo"), Settings()) as searcher:
    tracer = trace.Tracer(searcher, Settings().trace, print)
    for number in range(3):
        tracer.record(searcher.answer(f"berth {number}"))
    os._exit(9)
"""


def test_a_killed_process_loses_no_more_than_what_it_had_gathered(world: Any) -> None:
    traces.switch(world.home / "trace", on=True)
    done = subprocess.run([sys.executable, "-c", _KILLED, world.store], cwd=Path(__file__).parents[2], env={**os.environ})
    assert done.returncode == 9
    assert [row["query"] for row in kept(world, TraceQueries)] == ["berth 0", "berth 1"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system"), pa.ArrowInvalid("x")]
)
def test_where_traces_cannot_be_written_searches_answer_and_it_is_said_once(
    world: Any, monkeypatch: Any, error: Exception
) -> None:
    said: list[str] = []

    def refuse(*_: object, **__: object) -> int:
        raise error

    with tracing(world, warn=said.append) as tracer:
        monkeypatch.setattr(tables, "write_whole", refuse)
        for _ in range(3):
            assert asked(tracer, "berth fee").hits
            assert tracer.flush() == {}
        assert len(said) == 1 and "cannot be traced" in said[0] and str(world.home / "trace") in said[0]
        monkeypatch.undo()
        asked(tracer, "next high tide")
    assert [row["query"] for row in kept(world, TraceQueries)] == ["next high tide"]
    assert [path.name for path in (world.home / "trace").iterdir() if path.name.startswith(".tmp")] == []


def test_a_folder_that_is_gone_or_is_a_file_costs_no_search(world: Any) -> None:
    said: list[str] = []
    with tracing(world, warn=said.append) as tracer:
        asked(tracer, "berth")
        folder = tracer.searcher.version.repository.traces
        (folder / "on").unlink()
        folder.rmdir()
        folder.write_text("not a folder")
        assert asked(tracer, "tide").hits
    assert len(said) == 1


def test_a_folder_that_was_removed_does_not_come_back(world: Any) -> None:
    said: list[str] = []
    with tracing(world, warn=said.append) as tracer:
        asked(tracer, "berth")
        folder = tracer.searcher.version.repository.traces
        shutil.rmtree(folder)
        assert tracer.flush() == {}
    assert not folder.exists() and len(said) == 1


def test_every_table_says_what_it_is_and_has_its_schema(world: Any) -> None:
    with tracing(world) as tracer:
        asked(tracer, "berth fee")
    [one] = traces.sets(world.home / "trace")
    assert sorted(path.name for path in one.iterdir()) == sorted(kind.file_name() for kind in TRACES)
    for kind in TRACES:
        assert tables.read_part(one / kind.file_name(), kind).schema.remove_metadata() == kind.schema


def test_an_answer_says_what_it_is_the_best_of(built: Any) -> None:
    with open_searcher(Store(built.store).repository("demo"), Settings()) as opened:
        answer: Answer = opened.answer("berth fee", 2)
        assert isinstance(opened, Searcher) and answer.k == 2 and len(answer.pool.candidates) >= len(answer.hits) == 2
        scores = dict(zip(answer.pool.candidates.tolist(), answer.pool.scores.tolist(), strict=True))
        assert [scores[hit.id] for hit in answer.hits] == sorted(scores.values(), reverse=True)[:2]
