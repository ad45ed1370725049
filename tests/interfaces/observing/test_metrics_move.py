"""Every metric moves when the engine does what it is about: real indexes, real searches, nothing called by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import instruments
from pipeline.catalog.hydrate import hydrate
from pipeline.config import IndexSettings, Settings
from pipeline.errors import CodeIntelError, InvariantViolationError, NotFoundError, StoreBusyError
from pipeline.index.dense.updates import UpdatableIndex
from pipeline.interfaces.observing import prometheus
from pipeline.interfaces.observing.prometheus import MOST_REPOSITORIES, Exposition, Observing
from pipeline.interfaces.observing.requests import request
from pipeline.search.engine import Filters, Searcher, open_searcher
from pipeline.search.trace import Tracer
from pipeline.store.layout import open_store


class Scraped:
    """What Prometheus would see: `scraped("name", label="value")`."""

    def __init__(self, exposition: Exposition) -> None:
        self.exposition = exposition

    def __call__(self, name: str, **labels: str) -> float:
        """The value of a sample, 0 where there is none."""
        for family in text_string_to_metric_families(self.exposition.text().decode()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    exposition = Exposition()
    with instruments.listen(exposition.tell):
        yield Scraped(exposition)


def _searcher(world: Any) -> Searcher:
    return open_searcher(open_store(world.store).existing("demo"), Settings())


def _vectors(count: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((count, 16)).astype(np.float32)
    return np.arange(count, dtype=np.int64), rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_search_is_timed_by_kind_family_and_channel(built: Any, scraped: Scraped) -> None:
    with _searcher(built) as searcher:
        searcher.search("how is the berth fee worked out")
        # Other tests of this process may have some open.
        opened = scraped("codeintel_open_versions")
    assert scraped("codeintel_search_seconds_count", kind="question") == 1
    assert scraped("faiss_ann_search_duration_seconds_count", family="flat") == 1
    assert scraped("faiss_refine_duration_seconds_count") == 0  # An exact index has nothing to re-rank.
    assert scraped("codeintel_channel_answers_total", channel="lexical", state="answered") == 1
    assert scraped("codeintel_channel_answers_total", channel="splade", state="off") == 1
    assert scraped("codeintel_channel_seconds_count", channel="dense") == 1
    assert scraped("faiss_idmap_rows", repository="demo") > 5
    assert scraped("codeintel_open_versions") == opened - 1
    assert scraped("faiss_param_overrides_total") == 0


def test_filters_are_timed_by_what_they_filter_and_their_density_is_kept(built: Any, scraped: Scraped) -> None:
    with _searcher(built) as searcher:
        chunks = searcher.version.manifest.counts["chunks"]
        searcher.search("fee", filters=Filters(lang=("python",)))
        searcher.search("fee", filters=Filters(lang=("python",), path=("harbour/fees.py",)))
        allowed = searcher.allowed(Filters(lang=("python",)))
        assert allowed is not None
        share = len(allowed) / chunks
    assert scraped("codeintel_scope_filter_duration_seconds_count", filter_type="lang") == 2
    assert scraped("codeintel_scope_filter_duration_seconds_count", filter_type="several") == 1
    assert scraped("codeintel_catalog_bootstrap_seconds_count") == 1
    assert scraped("codeintel_post_filter_density_count") == 3
    assert 2 * share < scraped("codeintel_post_filter_density_sum") < 3 * share < 3
    assert scraped("faiss_join_ready", materialized="false", repository="demo") == 1


def test_a_point_of_ones_own_is_an_override(built: Any, scraped: Scraped) -> None:
    with _searcher(built) as searcher:
        searcher.search("fee", point=searcher.point_for("", 2.0))
    assert scraped("faiss_param_overrides_total") == 1


def test_hydration_is_timed_by_what_is_joined(built: Any, scraped: Scraped) -> None:
    with _searcher(built) as searcher:
        ids = [hit.id for hit in searcher.search("berth fee")]
        for joins in ((), ("faiss",), ("faiss", "symbols")):
            hydrate(searcher.opened.catalog, ids, joins=joins)
    for op in ("chunks", "faiss", "several"):
        assert scraped("codeintel_duckdb_hydration_seconds_count", op=op) == 1


def test_re_ranking_is_timed_and_says_what_it_kept(scraped: Scraped) -> None:
    ids, vectors = _vectors(600)
    index = UpdatableIndex.build(ids, vectors, IndexSettings(faiss_family="ivf_sq8", nlist=8))
    index.search(vectors[:4], 5)
    assert scraped("faiss_ann_search_duration_seconds_count", family="ivf_sq8") == 1
    assert scraped("faiss_refine_duration_seconds_count") == 1
    assert scraped("faiss_refine_kept_ratio_count") == 1
    assert 0.5 < scraped("faiss_refine_kept_ratio_sum") <= 1
    assert scraped("faiss_flat_rerank_seconds_count") == 0
    index.search(vectors[:1], 5, allowed=ids[:20])
    assert scraped("faiss_flat_rerank_seconds_count") == 1
    assert scraped("faiss_ann_search_duration_seconds_count", family="ivf_sq8") == 1


def test_deletes_and_collisions_are_counted_one_by_one(scraped: Scraped) -> None:
    ids, vectors = _vectors(50)
    index = UpdatableIndex.build(ids, vectors, IndexSettings())
    index.delete([1, 2, 3, 999])
    with pytest.raises(InvariantViolationError):
        index.add([4, 5], vectors[4:6])
    assert scraped("faiss_deletes_total") == 3
    assert scraped("faiss_update_collisions_total") == 2


def test_traces_count_the_rows_that_they_wrote_under_the_names_of_the_contract(world: Any, scraped: Scraped) -> None:
    world._run("trace", "on", "--data", world.store)
    with _searcher(world) as searcher, Tracer(searcher, Settings().trace, pytest.fail) as tracer:
        tracer.record(searcher.answer("berth fee"))
        written = tracer.flush()
    assert scraped("trace_pool_rows") == written["trace_pool"] > 0
    assert scraped("hybrid_rrf_written_rows") == written["hybrid_contrib"] > 0


def test_a_build_counts_its_evaluation_and_a_reader_the_flip_that_it_met(world: Any, scraped: Scraped) -> None:
    with _searcher(world):
        pass
    assert scraped("codeintel_flips_seen_total", repository="demo") == 0
    (world.repo / "harbour" / "fees.py").write_text("def other_fee(nights: int) -> int:\n    return nights * 3\n")
    assert world.build().code == 0
    assert scraped("eval_pools_written_total") == 1
    with _searcher(world):
        opened = scraped("codeintel_open_versions")
        with _searcher(world):
            assert scraped("codeintel_flips_seen_total", repository="demo") == 1
            assert scraped("codeintel_open_versions") == opened + 1


def test_the_materialised_join_is_ready_until_something_else_is_published(world: Any, scraped: Scraped) -> None:
    world._run("idmap", "materialize", "--data", world.store)
    assert scraped("faiss_join_ready", materialized="true", repository="demo") == 1
    (world.repo / "README.md").write_text("# Another\n")
    assert world.build().code == 0
    observing = Observing(open_store(world.store))
    try:
        text = observing.metrics_text().decode()
    finally:
        observing.close()
    assert 'faiss_join_ready{materialized="true",repository="demo"} 0.0' in text


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (None, "ok"),
        (NotFoundError("There is no such chunk."), "refused"),
        (StoreBusyError("Somebody builds."), "busy"),
        (CodeIntelError("It is damaged."), "failed"),
        (ZeroDivisionError(), "failed"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_requests_are_counted_by_how_they_end(scraped: Scraped, error: BaseException | None, state: str) -> None:
    def answer() -> None:
        with request("http", "search", repository="demo"):
            if error is not None:
                raise error

    if error is None:
        answer()
    else:
        with pytest.raises(type(error)):
            answer()
    assert scraped("codeintel_requests_total", interface="http", operation="search", state=state) == 1
    assert scraped("codeintel_request_seconds_count", interface="http") == 1


def test_a_scrape_says_of_a_store_what_is_published_and_whether_it_answers(world: Any) -> None:
    now = [0.0]
    observing = Observing(open_store(world.store), clock=lambda: now[0])
    try:
        text = observing.metrics_text().decode()
        assert 'codeintel_repository_ready{repository="demo"} 1.0' in text
        assert 'codeintel_published_timestamp_seconds{repository="demo"} 1.' in text
        assert "process_cpu_seconds_total" in text and 'codeintel_build_info{duckdb="' in text
        (world.home / "CURRENT").write_text("junk\n")
        assert 'codeintel_repository_ready{repository="demo"} 1.0' in observing.metrics_text().decode()
        now[0] += 60
        assert 'codeintel_repository_ready{repository="demo"} 0.0' in observing.metrics_text().decode()
        (world.home / "repository.json").unlink()
        now[0] += 60
        assert 'repository="demo"' not in observing.metrics_text().decode()
    finally:
        observing.close()


def test_a_scrape_of_a_store_that_is_gone_tells_of_no_repository(world: Any) -> None:
    observing = Observing(open_store(world.store))
    world.store.rename(world.store.with_name("away"))
    text = observing.metrics_text()
    observing.close()
    assert b"process_cpu_seconds_total" in text and b'repository="demo"' not in text


def test_nobody_can_make_more_series_than_are_bounded(scraped: Scraped) -> None:
    def series() -> int:
        return len(scraped.exposition.text().splitlines())

    instruments.count("codeintel_requests_total", interface="http", operation="a made-up one", state="ok")
    before = series()
    for number in range(50):
        instruments.count("codeintel_requests_total", interface="http", operation=f"made up {number}", state="ok")
    assert series() == before
    assert scraped("codeintel_requests_total", operation="other") == 51
    for number in range(MOST_REPOSITORIES + 100):
        instruments.gauge("faiss_idmap_rows", 1, repository=f"r{number}")
        instruments.count("codeintel_flips_seen_total", repository=f"r{number}")
    gauges = [line for line in scraped.exposition.text().decode().splitlines() if line.startswith("faiss_idmap_rows{")]
    assert len(gauges) == MOST_REPOSITORIES
    assert scraped("codeintel_flips_seen_total", repository="other") == 100


def test_metrics_of_the_process_begin_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(prometheus, "_running", None)
    first = prometheus.start_observing()
    try:
        assert prometheus.start_observing() is first
        instruments.count("faiss_deletes_total", 4)
        assert b"faiss_deletes_total 4.0" in prometheus.metrics_text()
    finally:
        first.close()
