"""What may be asked of a server: bounds hold, and what breaks them is told by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.errors import QueryError
from pipeline.interfaces.serving import requests
from pipeline.interfaces.serving.requests import REQUESTS, Fetch, Search, parse


def test_a_request_is_read_and_what_it_leaves_out_has_its_default() -> None:
    found = parse(Search, {"query": "berth fee", "lang": ["python"]})
    assert (found.query, found.lang, found.k, found.offset, found.content) == ("berth fee", ["python"], 10, 0, False)


def test_in_a_url_numbers_and_truth_are_text() -> None:
    found = parse(Search, {"query": "7", "k": "5", "content": "true"}, texts=True)
    assert (found.query, found.k, found.content) == ("7", 5, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "`query`"),
        ({"query": ""}, "`query`"),
        ({"query": 5}, "`query`"),
        ({"query": "x", "k": 0}, "`k`"),
        ({"query": "x", "k": requests.MOST_ON_A_PAGE + 1}, "`k`"),
        ({"query": "x", "k": "5"}, "`k`"),
        ({"query": "x", "offset": requests.DEEPEST + 1}, "`offset`"),
        ({"query": "x", "lang": "python"}, "`lang`"),
        ({"query": "x", "lang": ["python", 3]}, "`lang[1]`"),
        ({"query": "x", "k_factor": float("nan")}, "`k_factor`"),
        ({"query": "x", "nprobe": 3}, "`nprobe`"),
        ({"query": "x" * (requests.MOST_QUERY + 1)}, "`query`"),
    ],
)
def test_what_cannot_be_asked_is_told_by_name(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError) as refused:
        parse(Search, arguments)
    assert said in refused.value.message and len(refused.value.message) < 200


@pytest.mark.parametrize("identifier", ["", "-1", "1e3", "12345678901234567890", "1; DROP TABLE chunks", "١٢"])
def test_what_is_no_id_is_refused(identifier: str) -> None:
    with pytest.raises(QueryError, match="`id`"):
        parse(Fetch, {"id": identifier})


@pytest.mark.parametrize("kind", REQUESTS.values())
def test_every_request_and_argument_is_described(kind: type[msgspec.Struct]) -> None:
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    assert schema["description"] and schema["additionalProperties"] is False
    assert all(described["description"].endswith(".") for described in schema["properties"].values())
