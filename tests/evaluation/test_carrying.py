"""Evaluation on top of an earlier one: little is asked, it says what a full one would, and nothing bad hides in it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.embed.arrays import open_arrays, write_arrays
from pipeline.embed.static import StaticEmbedder
from pipeline.errors import IndexCorruptionError
from pipeline.evaluation import carrying
from pipeline.evaluation.cover import continuing
from pipeline.evaluation.cover.answered import read_answered
from pipeline.evaluation.document import asked_when, of_engine, read_coverage, read_metrics
from pipeline.evaluation.queries import TEST, read_queries, read_ties
from pipeline.schemas import Coverage, CoverageRows, EvalMetrics, EvalQueries
from pipeline.stages import COVERAGE, EMBEDDINGS, EVAL_METRICS, EVAL_QUERIES
from tests.evaluation.port import NOUNS, Port, anew, module, port

COUNTED = ("prefix", "parent", "depth", "bytes", "indexed_bytes", "files", "indexed_files", "definitions", "chunked", "covered")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Port:
    """The port, built once in tables of four parts. Not to be changed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "FILES_PER_PART", 8)
        made = port(tmp_path_factory.mktemp("carrying") / "port")
        made.build()
    return made


@pytest.fixture
def yard(built: Port, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Port:
    """A copy of it, in which one file of a hundred chunks is a small change."""
    monkeypatch.setattr(tables, "FILES_PER_PART", 8)
    monkeypatch.setattr(carrying, "MOST_CHANGED", 0.2)
    monkeypatch.setattr(continuing, "MOST_CHANGED", 0.2)
    return built.copy(tmp_path / "port")


def edit(yard: Port, uri: str, change: Callable[[str], str]) -> None:
    yard.write(uri, change((yard.tree / uri).read_text()))


def aside(text: str) -> str:
    """An edit of one function's body that no query is about."""
    return text.replace("    total = rate", "    # Kept since the old days.\n    total = rate", 1)


def ndcg(folder: Path) -> dict[str, float]:
    rows = of_engine(pq.read_table(folder / EvalMetrics.DETAILS))
    return dict(zip(rows["qid"].to_pylist(), rows["ndcg"].to_pylist(), strict=True))


def test_a_small_change_asks_few_queries_and_says_since_when_the_others_are_known(yard: Port) -> None:
    first = yard.build()["eval_metrics"]
    edit(yard, "hall/anchor.py", aside)
    made = yard.build()["eval_metrics"]
    document = read_metrics(made.path)
    assert 0 < document.asked < document.queries / 2 and document.since == {first.key: document.queries - document.asked}
    for name in (EvalMetrics.DETAILS, EvalMetrics.POOL):
        table = pq.read_table(made.path / name)
        asked = {
            qid
            for qid, since in zip(
                table[table.column_names[0] if name == EvalMetrics.DETAILS else "query_id"].to_pylist(),
                table["since"].to_pylist(),
                strict=True,
            )
            if since is None
        }
        assert len(asked) == document.asked
    edit(yard, "shed/cargo.py", aside)
    again = read_metrics(yard.build()["eval_metrics"].path)
    assert set(again.since) == {first.key, made.key}


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_carried_over_is_what_asking_now_would_find(yard: Port, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    same = carried = 0
    for step in range(3):
        uri = draw.choice(sorted(path.relative_to(yard.tree).as_posix() for path in yard.tree.rglob("*.py")))
        match draw.choice(("edit", "add", "delete", "rename")):
            case "edit":
                edit(yard, uri, aside)
            case "add":
                yard.write(f"hall/more_{step}.py", module(draw.choice(NOUNS), 100 + step))
            case "delete":
                (yard.tree / uri).unlink()
            case "rename":
                (yard.tree / uri).rename((yard.tree / uri).with_name(f"old_{Path(uri).name}"))
        made = yard.build()
        now, full = ndcg(made["eval_metrics"].path), ndcg(anew(EVAL_METRICS, made, tmp_path / f"full{step}"))
        assert now.keys() == full.keys()
        document = read_metrics(made["eval_metrics"].path)
        carried += sum(document.since.values())
        same += sum(abs(now[qid] - full[qid]) < 1e-9 for qid in now) - document.asked
        assert abs(np.mean(list(now.values())) - np.mean(list(full.values()))) <= 0.02
        assert document.nearest is not None and document.nearest.recall.mean == 1.0
    assert carried > 0 and same >= 0.9 * carried


def test_kept_queries_are_those_that_would_be_made_with_the_answers_that_they_would_have(yard: Port, tmp_path: Path) -> None:
    before = {query.qid for query in read_queries(yard.build()["eval_queries"].path)}
    edit(yard, "hall/anchor.py", aside)
    made = yard.build()
    kept = {query.qid: query for query in read_queries(made["eval_queries"].path)}
    full = {query.qid: query for query in read_queries(anew(EVAL_QUERIES, made, tmp_path / "full"))}
    assert kept.keys() < before and kept.keys() <= full.keys() and all(full[qid] == query for qid, query in kept.items())
    assert not any(query.uri == "hall/anchor.py" for query in kept.values())
    pairs = read_ties(made["eval_queries"].path)
    assert set(pairs[:, 0].tolist()) == set(range(len(kept)))


def test_a_query_for_a_name_goes_when_another_file_defines_the_name_too(yard: Port) -> None:
    queries = read_queries(yard.build()["eval_queries"].path)
    named = next(query for query in queries if query.label == "name" and "." not in query.query)
    yard.write("hall/more.py", f"def {named.query}(some):\n    return some\n")
    made = yard.build()["eval_queries"]
    assert made.facts["dropped"] >= 1 and named.qid not in {query.qid for query in read_queries(made.path)}


def test_queries_that_no_change_touches_are_linked(yard: Port) -> None:
    before = yard.build()["eval_queries"]
    edit(yard, "README.md", lambda text: text + "\nAnd who repairs it.\n")
    after = yard.build()["eval_queries"]
    assert after.key != before.key and after.facts["dropped"] == 0
    for name in (EvalQueries.FILE, EvalQueries.JSONL, EvalQueries.TIES):
        assert (after.path / name).samefile(before.path / name)


def test_coverage_counts_what_a_full_one_counts_and_links_the_rest(yard: Port, tmp_path: Path) -> None:
    before = yard.build()["coverage"]
    edit(yard, "hall/anchor.py", aside)
    yard.write("hall/new/place.py", module("raft", 7))
    (yard.tree / "shed/cargo.py").unlink()
    made = yard.build()
    coverage, full = made["coverage"], anew(COVERAGE, made, tmp_path / "full")
    told, known = read_coverage(coverage.path), read_coverage(full)
    assert 0 < told.asked < told.found.whole and known.asked == known.found.whole
    for name in ("files", "bytes", "definitions", "skipped", "chunked", "indexes"):
        assert getattr(told, name) == getattr(known, name)
    plain = [name for name in CoverageRows.schema.names if name not in ("asked", "query", "rank", "found_by", "reason")]
    rows, all_rows = (tables.read_table(folder, CoverageRows) for folder in (coverage.path, full))
    assert rows.select(plain).equals(all_rows.select(plain))
    modules, all_modules = (pq.read_table(folder / Coverage.MODULES) for folder in (coverage.path, full))
    assert modules.select(COUNTED).equals(all_modules.select(COUNTED))
    top = modules.to_pylist()[0]
    assert (top["asked"], top["found"]) == (told.found.whole, told.found.part) == (
        sum(rows["asked"].to_pylist()), sum(rank is not None for rank in rows["rank"].to_pylist()),
    )  # fmt: skip
    assert {one["channel"]: one["found"] for one in top["found_by"]} == {
        name: share.part for name, share in told.by_channel.items()
    }
    old = sorted((before.path / "coverage").iterdir())
    assert len(old) == 4 and any(path.samefile(coverage.path / "coverage" / path.name) for path in old)


def test_all_is_asked_again_when_much_has_changed_since_all_was(yard: Port) -> None:
    yard.build()
    for noun in NOUNS[::3]:
        edit(yard, f"hall/{noun}.py", lambda text: text.replace("total", "whole"))
    made = yard.build()
    document = read_metrics(made["eval_metrics"].path)
    assert document.asked == document.queries and made["eval_metrics"].facts["base"] is None
    assert read_coverage(made["coverage"].path).asked == read_coverage(made["coverage"].path).found.whole


def test_a_full_build_asks_all(yard: Port) -> None:
    edit(yard, "hall/anchor.py", aside)
    document = read_metrics(yard.build(full=True)["eval_metrics"].path)
    assert document.asked == document.queries


def test_where_the_base_has_lost_what_it_was_made_from_all_is_asked(yard: Port) -> None:
    first = yard.build()
    shutil.rmtree(yard.objects / "chunks" / first["chunks"].key)
    edit(yard, "hall/anchor.py", aside)
    document = read_metrics(yard.build()["eval_metrics"].path)
    assert document.asked == document.queries


def _shuffled(folders: Mapping[str, Path]) -> None:
    ids, vectors = (np.array(one[:]) for one in open_arrays(folders["embeddings"]))
    write_arrays(folders["embeddings"], ids, vectors[np.random.default_rng(3).permutation(len(ids))])


def test_vectors_that_were_spoilt_do_not_hide_behind_what_is_carried_over(yard: Port, sabotage: Any) -> None:
    edit(yard, "hall/anchor.py", aside)
    sabotage(EMBEDDINGS, _shuffled)
    document = read_metrics(yard.build()["eval_metrics"].path)
    assert document.asked == document.queries and document.agreement is not None and document.agreement.least < 0.9


def test_a_channel_that_breaks_is_told(yard: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Any, queries: Any) -> Any:
        raise RuntimeError("the weights are gone")

    edit(yard, "hall/anchor.py", aside)
    monkeypatch.setattr(StaticEmbedder, "encode_queries", gone)
    document = read_metrics(yard.build()["eval_metrics"].path)
    assert document.asked == document.queries and "the weights are gone" in document.broken["dense"]


def test_an_evaluation_with_a_broken_channel_is_no_base(yard: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Any, queries: Any) -> Any:
        raise RuntimeError("the weights are gone")

    edit(yard, "hall/anchor.py", aside)
    with monkeypatch.context() as patched:
        patched.setattr(StaticEmbedder, "encode_queries", gone)
        yard.build()
    edit(yard, "shed/cargo.py", aside)
    document = read_metrics(yard.build()["eval_metrics"].path)
    assert document.asked == document.queries and not document.broken


def test_what_was_asked_when_is_said_in_words(built: Port) -> None:
    [key] = [path.name for path in (built.objects / "eval_metrics").iterdir()]
    document = read_metrics(built.objects / "eval_metrics" / key)
    assert asked_when(document, {}) == ""
    some = type(document)(**{
        **{name: getattr(document, name) for name in document.__struct_fields__}, "asked": 3, "queries": 60,
        "since": {"a": 40, "b": 10, "c": 7},
    })  # fmt: skip
    assert asked_when(some, {"a": "v-1", "b": "v-2"}) == (
        "3 of 60 queries were asked in this build; the rest is carried over from earlier ones: 40 from v-1, 10 from v-2, "
        "7 from others"
    )


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 1, "asked": [{"uri": 1}]}'])
def test_a_damaged_list_of_what_was_asked_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / Coverage.ASKED).write_bytes(damage)
    with pytest.raises(IndexCorruptionError, match=Coverage.ASKED):
        read_answered(tmp_path)


def test_a_list_of_another_format_is_named(tmp_path: Path) -> None:
    (tmp_path / Coverage.ASKED).write_bytes(b'{"version": 9, "asked": []}')
    with pytest.raises(IndexCorruptionError, match="format 9"):
        read_answered(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"nothing"])
def test_damaged_ties_are_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / EvalQueries.TIES).write_bytes(damage)
    with pytest.raises(IndexCorruptionError, match=EvalQueries.TIES):
        read_ties(tmp_path)


def test_an_exact_index_has_no_queries_to_be_tuned_on(built: Port) -> None:
    [folder] = (built.objects / "eval_queries").iterdir()
    assert {query.split for query in read_queries(folder)} == {TEST}
