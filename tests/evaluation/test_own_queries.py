"""People's own query files: what is read, what a path stands for, and what is said about a file that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CodeIntelError, QueryError
from pipeline.evaluation import own_queries
from pipeline.evaluation.metrics import score
from pipeline.evaluation.own_queries import OwnQueries, read_own
from pipeline.evaluation.places import Chunked
from pipeline.evaluation.queries import Query, write_queries
from pipeline.schemas import Chunks
from pipeline.tables import read_table


@pytest.fixture(scope="module")
def chunks(built: Any) -> list[dict[str, Any]]:
    table = read_table(built.published, Chunks, ["id", "uri", "lang", "start_line", "end_line"])
    return table.sort_by([("uri", "ascending"), ("start_line", "ascending")]).to_pylist()


@pytest.fixture(scope="module")
def chunked(built: Any) -> Chunked:
    return Chunked(built.published)


@pytest.fixture
def own(chunked: Chunked, tmp_path: Path) -> Any:
    def read(content: bytes | str | list[dict[str, Any]], name: str = "queries.jsonl") -> OwnQueries:
        if isinstance(content, list):
            content = "".join(json.dumps(line) + "\n" for line in content)
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read_own(tmp_path / name, chunked)

    return read


def ids(chunks: list[dict[str, Any]], prefix: str) -> set[int]:
    return {chunk["id"] for chunk in chunks if chunk["uri"].startswith(prefix)}


def test_plain_lines_are_queries_without_answers(own: Any) -> None:
    found = own("# what we look for\nberth fee\n\n  next high tide  \n", "mine.txt")
    assert [query.query for query in found.queries] == ["berth fee", "next high tide"]
    assert found.judged == () and found.warnings() == []
    assert [query.qid for query in found.queries] == ["line-2", "line-4"]


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfberth fee\r\nnext tide\r\n", b"berth fee\nnext tide"])
def test_neither_a_byte_order_mark_nor_the_end_of_lines_is_part_of_a_query(own: Any, content: bytes) -> None:
    assert [query.query for query in own(content, "mine.txt").queries] == ["berth fee", "next tide"]


def test_lines_that_are_objects_are_json_whatever_the_file_is_called(own: Any) -> None:
    line = b'\xef\xbb\xbf{"query": "berth fee", "paths": ["harbour/fees.py"]}\r\n'
    assert own(line, "mine.txt").judged == own(line, "mine.jsonl").judged != ()
    assert own('{ "a": 1 } in JavaScript\n', "mine.txt").queries[0].query == '{ "a": 1 } in JavaScript'


def test_a_path_is_one_answer_made_of_every_chunk_there(own: Any, chunks: list[dict[str, Any]]) -> None:
    [query] = own([{"query": "money or ships", "paths": ["./harbour/", "README.md"]}]).queries
    harbour, readme = ids(chunks, "harbour/"), ids(chunks, "README.md")
    assert len(harbour) > 1 and set(query.positives) == harbour | readme
    assert dict(zip(query.positives, query.answers, strict=True)) == dict.fromkeys(harbour, 0) | dict.fromkeys(readme, 1)
    assert own([{"query": "q", "paths": ["harbour"]}]).queries[0].positives == tuple(
        one for one in query.positives if one in harbour
    )
    assert own([{"query": "q", "paths": ["harb"]}]).unknown_paths == ("harb",)


def test_lines_stand_for_the_chunks_that_they_touch(own: Any, chunks: list[dict[str, Any]]) -> None:
    ships = [chunk for chunk in chunks if chunk["uri"] == "harbour/ships.py"]
    last = ships[-1]["end_line"]
    for first, end in ((1, 1), (4, 9), (last, last + 50), (1, last)):
        written = f"harbour/ships.py:{first}" + (f"-{end}" if end != first else "")
        [query] = own([{"query": "q", "paths": [written]}]).queries
        assert set(query.positives) == {
            chunk["id"] for chunk in ships if chunk["start_line"] <= end and chunk["end_line"] >= first
        }
        assert (query.uri, query.lang) == ("harbour/ships.py", "python")
    assert own([{"query": "q", "paths": [f"harbour/ships.py:{last + 9}"]}]).unknown_paths


def test_ids_are_text_or_numbers_and_each_is_an_answer(own: Any, chunks: list[dict[str, Any]]) -> None:
    first, second = chunks[0]["id"], chunks[1]["id"]
    [query] = own([{"qid": 7, "query": "q", "positive_ids": [str(first), second], "metadata": {"label": "mine"}}]).queries
    assert (query.qid, query.positives, query.answers, query.label) == ("7", (first, second), (0, 1), "mine")


def test_our_own_file_is_read_as_it_was_written(own: Any, chunks: list[dict[str, Any]], tmp_path: Path) -> None:
    one, two, three = (chunk["id"] for chunk in chunks[:3])
    made = Query(
        qid="n1", query="Ship", label="name", split="tune", uri="harbour/ships.py", symbol="Ship", lang="python",
        positives=(one, two), answers=(4, 4), neutral=(three,),
    )  # fmt: skip
    write_queries(tmp_path, [made])
    found = own((tmp_path / "queries.jsonl").read_bytes(), "again.jsonl")
    assert found.queries == (made,) and found.warnings() == []


def test_a_masked_query_is_told_to_be_asked_as_it_is(own: Any) -> None:
    assert "as they are: 1" in own([{"query": "q", "metadata": {"masked": True}}]).warnings()[0]


def test_what_the_version_does_not_have_is_told_and_counts_as_not_found(own: Any, chunks: list[dict[str, Any]]) -> None:
    known = chunks[0]["id"]
    found = own([
        {"qid": "half", "query": "q", "positive_ids": ["5", known]},
        {"qid": "none", "query": "q", "paths": ["gone.py", "old/"]},
        {"qid": "other", "query": "q", "paths": ["gone.py:3"], "positive_ids": [6]},
        {"qid": "unasked", "query": "q"},
    ])  # fmt: skip
    half, none, other = found.judged
    assert score([known], half, 10).recall == 0.5
    assert [score([chunk["id"] for chunk in chunks], query, 10).ndcg for query in (none, other)] == [0, 0]
    assert found.hopeless == ("none", "other")
    assert found.warnings() == [
        "2 ids are of no chunk in the version: `5`, `6`",
        "3 paths match nothing in the version: `gone.py`, `old/`, `gone.py:3`",
        "2 queries have only such answers and score 0: `none`, `other`",
    ]


def test_many_unknown_names_are_counted_and_the_first_told(own: Any) -> None:
    [told, _] = own([{"query": "q", "paths": [f"gone{number}.py" for number in range(9)]}]).warnings()
    assert told == "9 paths match nothing in the version: `gone0.py`, `gone1.py`, `gone2.py` and 6 more"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no query"),
        (b"\n# nothing\n", "holds no query"),
        (b"fine\n\xff\xfa\n", "line 2 is not UTF-8"),
        ("Schiffe".encode("utf-16"), "is UTF-16"),
        (b"one\0two\n", "line 1 holds a zero byte"),
        (b'{"query": "fine"}\n{"query": \n', "line 2 is broken JSON"),
        (b'{"query": "fine"}\nberth fee\n', "line 2 is broken JSON"),
        (b'{"qid": "a"}\n', "required field `query`"),
        (b'{"query": 7}\n', "Expected `str`, got `int`"),
        (b'{"query": "  "}\n', "line 1: the query is empty"),
        (b'{"query": "q", "positive_ids": ["12x"]}\n', "`12x` is not the id of a chunk"),
        (b'{"query": "q", "positive_ids": [-3]}\n', "`-3` is not the id of a chunk"),
        (b'{"query": "q", "positive_ids": [1.5]}\n', "Expected `int | str`, got `float`"),
        (b'{"query": "q", "positive_ids": ["9223372036854775808"]}\n', "is not the id of a chunk"),
        (b'{"query": "q", "paths": "a.py"}\n', "Expected `array`, got `str`"),
        (b'{"query": "q", "paths": [""]}\n', "a path is empty"),
        (b'{"query": "q", "paths": ["harbour/fees.py:9-3"]}\n', "`harbour/fees.py:9-3` names no lines"),
        (b'{"query": "q", "paths": ["harbour/fees.py:0"]}\n', "names no lines"),
        (b'{"query": "q", "positive_ids": ["1"], "metadata": {"answers": [1, 2]}}\n', "`metadata.answers`"),
        (b'{"query": "q", "metadata": {"neutral_ids": "1"}}\n', "`metadata.neutral_ids`"),
        (b'{"query": "q", "qid": "a"}\n{"query": "r", "qid": "a"}\n', "line 2: the qid `a` is that of line 1, too"),
        (b'{"query": "q\n', "broken JSON"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(own: Any, content: bytes, said: str) -> None:
    with pytest.raises(CodeIntelError) as error:
        own(content, "mine.jsonl" if b"{" in content else "mine.txt")
    assert said in str(error.value) and "mine." in error.value.message and error.value.hint
    assert error.value.exit_code == 2


def test_a_file_that_is_not_there_or_a_folder_is_refused(chunked: Chunked, tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(QueryError, match="cannot be read"):
            read_own(path, chunked)


def test_files_have_bounds(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QueryError, match="line 2 is longer than 1,048,576 bytes"):
        own("fine\n" + "x" * (1 << 20) + "\n", "mine.txt")
    monkeypatch.setattr(own_queries, "MOST_QUERIES", 3)
    assert len(own("a\n" * 3, "mine.txt").queries) == 3
    with pytest.raises(QueryError, match="more than 3 queries"):
        own("a\n" * 4, "mine.txt")
    monkeypatch.setattr(own_queries, "MOST_POSITIVES", 3)
    with pytest.raises(QueryError, match="line 2: the answers so far are"):
        own([{"query": "q", "paths": ["README.md"]}, {"query": "q", "paths": ["harbour/"]}])
