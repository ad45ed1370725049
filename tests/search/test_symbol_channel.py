"""The symbol channel: a query that is a name finds what defines it first, and says so; any other query is left alone."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import SearchSettings, Settings
from pipeline.search.channels import symbol
from pipeline.search.channels.interface import Asked, Found
from pipeline.search.engine import Filters, Hit, Searcher, open_searcher
from pipeline.search.query import parse_query
from pipeline.store.layout import Store

# `filter` is used and defined all over, and `Rows.filter` stands in the middle of a class that is too long for one chunk.
_METHODS = "".join(
    f'    def step{number}(self, filter):\n        """Filter, filter, filter rows."""\n        return filter(filter)\n\n'
    for number in range(40)
)
FILES = {
    "lib/rows.py": f'class Rows:\n    """Rows."""\n\n{_METHODS}    def filter(self):\n        return self\n\n{_METHODS}',
    "lib/lines.py": "class Lines:\n    def filter(self):\n        return [filter for filter in self if filter]\n",
    "lib/words.py": "class Filter:\n    pass\n\n\ndef filter_words(filter):\n    return filter.filter(filter)\n",
    "lib/uses.py": "from lib.rows import Rows\n\n" + "Rows.filter(Rows().filter())\n" * 20,
    "notes.md": "# Rows.filter\n\nRows.filter is what filter and Rows filter. Rows.filter!\n",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Path:
    root = tmp_path_factory.mktemp("symbols")
    for name, text in FILES.items():
        path = root / "names" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    done = indexctl("build", root / "names", "--data", root / "store", "--json", "--ephemeral")
    assert done.code == 0, done.err
    return root / "store"


EVERYTHING = Filters()


def search(store: Path, query: str, *, filters: Filters = EVERYTHING, **settings: float) -> list[Hit]:
    chosen = Settings(search=SearchSettings(**settings))
    with open_searcher(Store(store).repository("names"), chosen) as opened:
        return opened.search(query, 50, filters)


def asked(opened: Searcher, query: str, limit: int = 50) -> Found:
    found = symbol.ask(opened.opened, Asked(parse_query(query), limit))
    assert found is not None
    return found


def defining(store: Path, name: str) -> list[tuple[str, float]]:
    """(uri, score) of what the channel says, best first."""
    with open_searcher(Store(store).repository("names"), Settings()) as opened:
        ranking = asked(opened, name).ranking
        rows = opened.opened.lexical.documents(ranking.ids)
        return [(row["uri"], round(float(score), 2)) for row, score in zip(rows, ranking.scores, strict=True)]


def holds(store: Path, hit: Hit, text: str) -> bool:
    lines = FILES[hit.uri].splitlines()[hit.start_line - 1 : hit.end_line]
    return text in "\n".join(lines)


@pytest.mark.parametrize("query", ["Rows.filter", "Rows.filter()", "Rows::filter", "Rows#filter"])
def test_a_qualified_name_finds_the_chunk_that_defines_it_first(store: Path, query: str) -> None:
    best = search(store, query)[0]
    assert best.uri == "lib/rows.py" and holds(store, best, "def filter(self)")
    assert best.channels["symbol"].rank == 1 and best.channels["symbol"].score == pytest.approx(1.0)


def test_the_name_as_written_comes_before_other_case_and_both_before_longer_names(store: Path) -> None:
    assert defining(store, "Filter") == [("lib/words.py", 1.0)] + [
        (uri, 0.67) for uri, _ in defining(store, "Filter") if uri != "lib/words.py"
    ]
    assert sorted(uri for uri, score in defining(store, "Filter") if score == 0.67) == ["lib/lines.py", "lib/rows.py"]
    assert defining(store, "filter_w") == [("lib/words.py", 0.33)]


def test_a_name_in_lower_case_finds_every_case(store: Path) -> None:
    assert {uri for uri, score in defining(store, "rows") if score == 1.0} == {"lib/rows.py"}
    assert {uri for uri, score in defining(store, "lines.filter")} == {"lib/lines.py"}


def test_of_a_path_that_is_defined_nowhere_the_longest_ending_counts(store: Path) -> None:
    assert defining(store, "lib.rows.Rows.filter") == [("lib/rows.py", 0.67)]
    assert {uri for uri, _ in defining(store, "elsewhere.Filter")} == {"lib/words.py", "lib/rows.py", "lib/lines.py"}
    assert defining(store, "Rows.nothing") == []


def test_a_heading_defines_nothing_however_it_reads(store: Path) -> None:
    assert "notes.md" not in {uri for uri, _ in defining(store, "Rows.filter")}
    assert "notes.md" in {hit.uri for hit in search(store, "Rows.filter")}


def test_short_starts_of_names_find_nothing(store: Path) -> None:
    assert defining(store, "fi") == []
    assert defining(store, "fil") != []


@pytest.mark.parametrize("query", ["how are rows filtered", "Rows filter", "rows of the lines"])
def test_a_query_that_is_no_name_is_not_asked_of_the_channel(store: Path, query: str) -> None:
    hits = search(store, query)
    assert hits and all(set(hit.channels) == {"lexical", "dense"} for hit in hits)
    assert hits == search(store, query, symbol_weight=0.0)


def test_the_weight_scales_what_the_channel_gives_and_the_start_of_a_name_gives_a_third(store: Path) -> None:
    for weight in (1.0, 3.0):
        best = next(hit for hit in search(store, "Rows.filter", symbol_weight=weight) if hit.channels["symbol"].rank == 1)
        assert best.channels["symbol"].contribution == pytest.approx(weight)
    start = search(store, "filter_w", symbol_weight=1.0)[0]
    assert start.uri == "lib/words.py" and start.channels["symbol"].contribution == pytest.approx(1 / 3)


def test_a_plain_word_may_be_a_topic_and_claims_less(store: Path) -> None:
    settings = SearchSettings()
    for query, claimed in (("filter", settings.plain_word_factor), ("Filter", 1.0), ("filter_words", 1.0)):
        best = next(hit for hit in search(store, query) if hit.channels["symbol"].rank == 1)
        assert best.channels["symbol"].contribution == pytest.approx(settings.symbol_weight * claimed)


def test_contributions_add_up_and_json_has_the_channel_only_where_it_ran(store: Path) -> None:
    for query, channels in (("Rows", {"lexical", "dense", "symbol"}), ("the rows", {"lexical", "dense"})):
        for hit in search(store, query):
            answer = hit.as_json()
            assert set(answer["explanation"]) == channels
            total = sum(channel["contribution"] for channel in answer["explanation"].values())
            assert total * math.prod(answer["adjustments"].values()) == pytest.approx(answer["score"], abs=1e-4)


def test_filters_hold_for_the_channel(store: Path) -> None:
    hits = search(store, "Rows.filter", filters=Filters(path=("lib/lines.py",)))
    assert {hit.uri for hit in hits} == {"lib/lines.py"}
    assert hits[0].channels["symbol"].score == pytest.approx(2 / 3)


def test_equal_scores_go_by_id_and_a_smaller_limit_is_a_prefix(store: Path) -> None:
    with open_searcher(Store(store).repository("names"), Settings()) as opened:
        many = asked(opened, "step").ranking
        assert len(many.ids) > 2 and (np.diff(many.ids) > 0).all()
        for limit in range(1, len(many.ids)):
            few = asked(opened, "step", limit).ranking
            assert few.ids.tolist() == many.ids[:limit].tolist()


def test_names_with_signs_that_patterns_know_are_just_names(store: Path) -> None:
    with open_searcher(Store(store).repository("names"), Settings()) as opened:
        for name in ("f...er", "a.*", "filter|step", "(((", "[a-z]+", "\\", "x{1000000}", "", "\x00" * 4, "日本語日本語"):
            assert opened.opened.lexical.defining(name, 10).ids.shape == (0,)


def test_the_channel_needs_neither_duckdb_nor_arrow() -> None:
    script = "import sys, pipeline.search.channels.symbol; assert not {'pyarrow', 'duckdb', 'faiss'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
