"""An evaluated version without an index: the documents and tables that a report reads, made up, the same every time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.config import Settings
from pipeline.evaluation.document import (
    Agreement,
    ChannelFigures,
    CoverageDocument,
    Figures,
    Interval,
    MetricsDocument,
    Nearest,
    Share,
    TokenOracle,
)
from pipeline.evaluation.report.subject import Evaluated
from pipeline.index.tuning.document import Recall, TuningDocument
from pipeline.schemas import Chunks, Coverage, Embeddings, EvalMetrics, FaissIndex, Files, Tuning

ASSETS = ("source_snapshot", "chunks", "embeddings", "faiss_index", "tuning", "eval_metrics", "coverage")
LABELS = ("name", "intent", "caller", "usage", "module")
CHANNELS = ("lexical", "dense", "symbol", "path")
FOLDERS = ("core/", "core/db/", "core/db/backends/", "core/http/", "web/", "web/forms/", "tools/")


def interval(mean: float, width: float = 0.03) -> Interval:
    return Interval(mean=mean, low=max(-1.0, mean - width), high=min(1.0, mean + width))


def figures(ndcg: float, queries: int = 400) -> Figures:
    width = 0.6 / max(queries, 1) ** 0.5
    return Figures(
        queries=queries, hit=interval(min(1.0, ndcg + 0.17), width), recall=interval(min(1.0, ndcg + 0.12), width),
        mrr=interval(ndcg - 0.03, width), ndcg=interval(ndcg, width),
    )  # fmt: skip


def metrics_document(**changes: Any) -> MetricsDocument:
    known = {
        "version": 1, "method": 1, "state": "on", "k": 10, "queries": 400, "asked": 400, "since": {},
        "fused": figures(0.61),
        "by_half": {"plain": figures(0.72, 230), "masked": figures(0.46, 170)},
        "by_label": {label: figures(0.4 + 0.1 * at, 80) for at, label in enumerate(LABELS)},
        "by_language": {"python": figures(0.63, 340), "javascript": figures(0.5, 60)},
        "by_module": {folder: figures(0.35 + 0.07 * at, 50) for at, folder in enumerate(FOLDERS)},
        "channels": {
            name: ChannelFigures(
                alone=figures(alone), without=figures(0.61 - lost), lost=interval(lost, 0.015),
                states={"answered": 380, "silent": 20},
            )
            for name, alone, lost in (
                ("lexical", 0.5, 0.11), ("dense", 0.44, 0.05), ("symbol", 0.2, 0.08), ("path", 0.06, -0.02),
            )
        },
        "nearest": Nearest(parameters="nprobe=24", k_factor=2.0, exact=False, recall=interval(0.994, 0.003), queries=400),
        "tokens": None, "agreement": Agreement(sample=64, least=0.9999), "broken": {},
    }  # fmt: skip
    names = {field.name for field in msgspec.structs.fields(MetricsDocument)}
    known |= {"twin": None} if "twin" in names else {}
    return MetricsDocument(**{**known, **changes})


def off() -> MetricsDocument:
    return metrics_document(
        state="off", queries=0, asked=0, fused=None, by_half={}, by_label={}, by_language={}, by_module={}, channels={},
        nearest=None, agreement=None,
    )  # fmt: skip


def token_oracle() -> TokenOracle:
    return TokenOracle(
        queries=100, hit=interval(0.8), mrr=interval(0.6), channel_recall=interval(0.93), engine_recall=interval(0.97),
        rescored_hit=interval(0.79), rescored_mrr=interval(0.58), fused_hit=interval(0.82), fused_mrr=interval(0.62),
    )  # fmt: skip


def coverage_document(**changes: Any) -> CoverageDocument:
    return CoverageDocument(**{
        "version": 1, "k": 10, "files": Share(part=1923, whole=2410), "bytes": Share(part=14_200_000, whole=31_000_000),
        "definitions": Share(part=21_980, whole=21_997), "found": Share(part=1290, whole=1500),
        "asked": 1500, "skipped": {"binary": 380, "too_large": 7, "generated": 100},
        "missed": {"outranked": 120, "same_words": 60, "not_in_chunks": 17, "no_words": 30},
        "by_language": {"python": Share(part=1200, whole=1380), "javascript": Share(part=90, whole=120)},
        "by_kind": {"function": Share(part=900, whole=1000), "class": Share(part=390, whole=500)},
        "by_channel": {name: Share(part=1100 - 250 * at, whole=1500) for at, name in enumerate(CHANNELS)}, **changes,
    })  # fmt: skip


def tuning_document(*, exact: bool = False) -> TuningDocument:
    known = Recall(recall=0.995, low=0.991, high=0.998)
    return TuningDocument(
        version=1, index="seal", family="flat" if exact else "ivf_sq8", exact=exact, k=10, target=0.99, met=True,
        parameters="" if exact else "nprobe=24", k_factor=1.0 if exact else 2.0, scored=9000, queries=0 if exact else 384,
        tuning=None if exact else known, held_out=None if exact else known, grid=0 if exact else 8,
    )  # fmt: skip


def _json(path: Path, value: Any) -> None:
    path.write_bytes(msgspec.json.encode(value))


def _files(folder: Path, names: Sequence[tuple[str, str | None]]) -> None:
    rows = {
        "uri": [uri for uri, _ in names], "lang": ["python"] * len(names), "size": [1000] * len(names),
        "content_hash": [b"\0" * 32] * len(names), "status": ["skipped" if why else "indexed" for _, why in names],
        "reason": [why for _, why in names],
    }  # fmt: skip
    tables.write_part(folder / Files.name, Files, 0, pa.table(rows, schema=Files.schema))


def _chunks(folder: Path, uris: Sequence[str]) -> None:
    count = len(uris)
    rows = {
        "id": list(range(1, count + 1)), "uri": list(uris), "lang": ["python"] * count, "kind": ["function"] * count,
        "name": [f"function_{number}" for number in range(count)], "start_line": [1] * count, "end_line": [9] * count,
        "start_byte": [0] * count, "end_byte": [90] * count, "preview": [""] * count, "content": [""] * count,
        "content_hash": [0] * count,
    }  # fmt: skip
    tables.write_part(folder / Chunks.name, Chunks, 0, pa.table(rows, schema=Chunks.schema))


def _evaluation(folder: Path, uris: Sequence[str], queries: int, texts: Sequence[str]) -> None:
    """Details and pool of queries whose answers are the further down the higher their number is."""
    details, pool = [], []
    for number in range(queries):
        rank = [1, 1, 2, 1, 3, None, 1, 14][number % 8]
        ndcg = 0.0 if rank is None or rank > 10 else float(1 / np.log2(rank + 1))
        uri = uris[number % len(uris)]
        said = {
            "qid": f"q{number:04d}", "query": texts[number % len(texts)], "label": LABELS[number % len(LABELS)],
            "masked": number % 3 == 0, "uri": uri, "symbol": f"Thing{number}.method",
        }  # fmt: skip
        for at, channel in enumerate(("fused", *CHANNELS)):
            own = rank if at == 0 else None if rank is None or at > 2 else rank + at
            state = "answered" if at < 3 else "silent"
            details.append({
                **said, "lang": "python", "channel": channel, "state": state, "rank": own, "hit": float(ndcg > 0),
                "recall": float(ndcg > 0), "rr": 0.0 if own is None else 1 / own, "ndcg": ndcg if own is not None else 0.0,
            })  # fmt: skip
            pool.extend({
                "run_id": "run", "query_id": said["qid"], "channel": channel, "method": "scores", "rank": place,
                "chunk_id": (number * 7 + place) % len(uris) + 1, "score": 1 / place, "fused_score": 1 / place,
                "explain_symbols": ["Model.save", "save"], "explain_ast_kinds": None, "explain_cst_hits": None, "ts": None,
            } for place in range(1, 4))  # fmt: skip
    for name, schema, rows in (
        (EvalMetrics.DETAILS, EvalMetrics.details, details),
        (EvalMetrics.POOL, EvalMetrics.pool, pool),
    ):
        tables.write_parquet(folder / name, pa.Table.from_pylist(rows, schema=schema), EvalMetrics.tag())


def _points(folder: Path, *, exact: bool) -> None:
    grid = [] if exact else [(probe, factor) for probe in (4, 8, 24, 64) for factor in (1.0, 2.0)]
    points = [
        {
            "nprobe": probe, "ef_search": None, "k_factor": factor, "chosen": (probe, factor) == (24, 2.0), "queries": 400,
            "ann_recall": 1 - 0.4 / probe / factor, "low": 1 - 0.5 / probe / factor, "high": 1 - 0.3 / probe / factor,
            "hit": 0.78, "rr": 0.58, "ndcg": 0.61 - 0.1 / probe,
        }
        for probe, factor in grid
    ]  # fmt: skip
    sweep = [
        {
            **{name: row[name] for name in ("nprobe", "ef_search", "k_factor", "low", "high")}, "queries": 384,
            "recall": row["ann_recall"], "scored": 300 * row["nprobe"], "bound": False,
        }
        for row in points
    ]  # fmt: skip
    tables.write_parquet(folder / EvalMetrics.POINTS, pa.Table.from_pylist(points, schema=EvalMetrics.points), "points")
    tables.write_parquet(folder / Tuning.SWEEP, pa.Table.from_pylist(sweep, schema=Tuning.schema), Tuning.tag())


def module_row(prefix: str, definitions: int = 100, found: int = 40) -> dict[str, Any]:
    parts = prefix.rstrip("/").split("/") if prefix else []
    parent = None if not prefix else "".join(f"{part}/" for part in parts[:-1])
    return {
        "prefix": prefix, "parent": parent, "depth": len(parts), "bytes": 10_000, "indexed_bytes": 9_500, "files": 10,
        "indexed_files": 9, "definitions": definitions, "chunked": definitions - 1, "asked": definitions // 2, "found": found,
        "covered": definitions - 2,
        "found_by": [{"channel": name, "found": found * (4 - at) // 5} for at, name in enumerate(CHANNELS)],
    }  # fmt: skip


def _modules(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(list(rows), schema=Coverage.modules)
    tables.write_parquet(folder / Coverage.MODULES, table, Coverage.tag())


def make(
    folder: Path,
    *,
    metrics: MetricsDocument | None = None,
    coverage: CoverageDocument | None = None,
    exact: bool = False,
    files: Sequence[tuple[str, str | None]] = tuple((f"{folder}file{at}.py", None) for folder in FOLDERS for at in range(4)),
    modules: Sequence[dict[str, Any]] | None = None,
    texts: Sequence[str] = ("how is a form validated", "Model.save", "what uses the cache to keep a session"),
    queries: int = 40,
    **given: Any,
) -> Evaluated:
    """A folder with all that a report reads, and the subject of one."""
    folder.mkdir(parents=True, exist_ok=True)
    metrics = metrics or metrics_document()
    uris = [uri for uri, why in files if not why]
    _files(folder, files)
    _chunks(folder, uris)
    _evaluation(folder, uris, queries if metrics.fused else 0, texts)
    _points(folder, exact=exact)
    shared = [module_row("", 700, 280), *(module_row(name, 100, 10 + 5 * at) for at, name in enumerate(FOLDERS))]
    _modules(folder, shared if modules is None else modules)
    _json(folder / EvalMetrics.FILE, metrics)
    _json(folder / Coverage.FILE, coverage or coverage_document())
    _json(folder / Tuning.FILE, tuning_document(exact=exact))
    _json(folder / Embeddings.EMBEDDER, {"name": "static", "digest": "5f" * 32, "dimension": 256})
    family = {"family": "flat", "factory": "IDMap,Flat"} if exact else {"family": "ivf_sq8", "factory": "IVF256,SQ8"}
    _json(folder / FaissIndex.META, {**family, "count": len(uris), "dimension": 256})
    known: dict[str, Any] = {
        "repository": "harbour", "roots": dict.fromkeys(ASSETS, folder), "settings": Settings().recorded(),
        "version": "v-0123456789abcdef", "commit": "c0ffee" * 6 + "c0ff", "tools": {"faiss-cpu": "1.15.0"},
    }  # fmt: skip
    return Evaluated(**{**known, **given})


@pytest.fixture
def evaluated(tmp_path: Path) -> Callable[..., Evaluated]:
    """Make an evaluated version in this test's folder: `make` says what can be given."""
    numbers = itertools.count()
    return lambda **given: make(tmp_path / f"version-{next(numbers)}", **given)


@pytest.fixture
def world() -> SimpleNamespace:
    """What documents are made of here."""
    makers = (metrics_document, coverage_document, token_oracle, module_row, figures, off)
    return SimpleNamespace(**{maker.__name__: maker for maker in makers})
