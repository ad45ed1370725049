"""Which family is chosen, and when FAISS may be imported."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import metadata
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from pipeline.config import FaissFamily, IndexSettings, TuningSettings
from pipeline.embed import arrays
from pipeline.errors import ConfigError
from pipeline.index.dense import description, families
from pipeline.index.dense.families import FAMILIES, Preset, choose, import_faiss, nlist_of, pq_m_of
from pipeline.schemas import Embeddings, FaissIndex


@pytest.fixture(autouse=True)
def fresh_import() -> Iterator[None]:
    import_faiss.cache_clear()
    yield
    import_faiss.cache_clear()


@pytest.mark.parametrize(("name", "n"), [("auto", 0), ("auto", 1), ("auto", 9_999), ("flat", 0), ("flat", 10_000_000)])
def test_small_corpora_and_flat_are_searched_exactly(name: Any, n: int) -> None:
    family = choose(IndexSettings(faiss_family=name), n, 256)
    assert (family.name, family.mapping, family.exact) == ("flat", "idmap2", True)
    assert family.factory(256, n, IndexSettings()) == "IDMap2,Flat"


PRESETS = (
    Preset(workload="mixed", below=50_000, families=("flat", "sq8")),
    Preset(workload="mixed", below=None, families=("ivf_flat", "ivf_sq8", "ivf_rabitq")),
    Preset(workload="reads", below=None, families=("hnsw_sq8", "ivf_sq8")),
)


@pytest.mark.parametrize(
    ("n", "workload", "memory", "expected"),
    [
        (49_999, "mixed", 0, "flat"),
        (50_000, "mixed", 0, "ivf_flat"),
        (50_000, "reads", 0, "hnsw_sq8"),
        # 500,000 × 256 bytes and ids are 126 MB.
        (500_000, "mixed", 130, "ivf_sq8"),
        (500_000, "mixed", 120, "ivf_rabitq"),
        (500_000, "reads", 130, "ivf_sq8"),
        # What fits nowhere is as small as can be.
        (500_000, "mixed", 1, "ivf_rabitq"),
    ],
)
def test_auto_takes_the_first_preset_that_fits_size_workload_and_memory(
    monkeypatch: pytest.MonkeyPatch, n: int, workload: Any, memory: int, expected: str
) -> None:
    monkeypatch.setattr(families, "presets", lambda: PRESETS)
    assert choose(IndexSettings(faiss_workload=workload, faiss_memory_mb=memory), n, 256).name == expected


def test_the_presets_cover_every_size_of_every_workload() -> None:
    workloads = get_args(get_type_hints(IndexSettings)["faiss_workload"])
    table = msgspec.json.decode(families.PRESETS_FILE.read_bytes())
    assert table["version"] == families.PRESETS_VERSION and table["measured_with"]["target"] == TuningSettings().target_recall
    for workload in workloads:
        bounds = [preset.below for preset in families.presets() if preset.workload == workload]
        assert bounds[-1] is None and all(bounds[:-1]) and bounds[:-1] == sorted(set(bounds[:-1]))
    assert {preset.workload for preset in families.presets()} == set(workloads)


def test_each_family_of_a_preset_takes_less_memory_than_those_before_it() -> None:
    for preset in families.presets():
        sizes = [FAMILIES[name].bytes_per_vector(256, IndexSettings()) for name in preset.families]
        assert sizes == sorted(set(sizes), reverse=True) and sizes


@pytest.mark.parametrize("name", FAMILIES)
def test_a_corpus_too_small_to_train_on_is_searched_exactly(name: Any) -> None:
    options = IndexSettings(faiss_family=name, nlist=64)
    least = FAMILIES[name].least_training(1000, options)
    assert choose(options, least, 256).name == name
    assert least == 0 or choose(options, least - 1, 256).name == "flat"


def test_lists_are_about_four_times_the_root_of_the_vectors_unless_set() -> None:
    assert nlist_of(100_000, IndexSettings()) == 1265
    assert nlist_of(1000, IndexSettings()) == 25
    assert nlist_of(0, IndexSettings()) == 1
    assert nlist_of(1000, IndexSettings(nlist=7)) == 7


@pytest.mark.parametrize("options", [{"pq_m": 7}, {"opq_m": 7}])
def test_quantisers_that_do_not_divide_the_dimension_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="does not divide the dimension 256"):
        choose(IndexSettings(faiss_family="ivf_pq", **options), 5, 256)  # type: ignore[arg-type]


def test_what_is_written_in_the_settings_stands_in_the_factory_string() -> None:
    options = IndexSettings(nlist=100, pq_m=32, pq_nbits=6, opq_m=16, hnsw_M=24)
    strings = {name: family.factory(256, 10_000, options) for name, family in FAMILIES.items()}
    assert strings["ivf_pq"] == strings["ivf_pq_refine"] == "OPQ16,IVF100,PQ32x6"
    assert strings["ivf_pqfs"] == "IVF100,PQ32x4fs"
    assert strings["hnsw_sq8"] == "IDMap2,HNSW24_SQ8"
    assert strings["ivf_rabitq"] == "IVF100,RaBitQ"
    assert pq_m_of(250, IndexSettings()) == 50


def test_no_inverted_file_stands_under_an_id_map_and_only_graphs_keep_tombstones() -> None:
    for family in FAMILIES.values():
        string = family.factory(256, 100_000, IndexSettings())
        assert (family.mapping == "native") == ("IVF" in string) == (family.parameter == "nprobe")
        assert (family.deletes == "tombstone") == ("HNSW" in string) == (family.parameter == "efSearch")


def test_the_settings_know_every_family() -> None:
    assert set(get_args(FaissFamily)) == {"auto", *FAMILIES}


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no FAISS family `hnsw9`") as caught:
        choose(IndexSettings(faiss_family="hnsw9"), 10, 256)  # type: ignore[arg-type]
    assert "flat" in caught.value.hint


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_builds_an_index_of_the_mapping_it_names(name: str) -> None:
    faiss = import_faiss()
    family = FAMILIES[name]
    index = faiss.index_factory(16, family.factory(16, 1000, IndexSettings()), faiss.METRIC_INNER_PRODUCT)
    assert isinstance(index, faiss.IndexIDMap2) == (family.mapping == "idmap2")


def test_a_missing_faiss_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match="FAISS cannot be imported") as caught:
        import_faiss()
    assert "`cpu`" in caught.value.hint


def test_two_distributions_of_faiss_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: object())
    with pytest.raises(ConfigError, match=r"Both faiss-cpu and faiss-gpu"):
        import_faiss()


def test_one_distribution_of_faiss_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_installed", lambda name: name == "faiss-gpu")
    assert import_faiss().__name__ == "faiss"


def test_the_reader_knows_files_by_the_names_of_the_schemas() -> None:
    assert (description.INDEX_FILE, description.META_FILE) == (FaissIndex.INDEX, FaissIndex.META)
    assert (description.DELTA_FILE, description.DELETIONS_FILE) == (FaissIndex.DELTA, FaissIndex.DELETIONS)
    assert description.ROWS_FILE == FaissIndex.ROWS
    assert (arrays.IDS_FILE, arrays.HASHES_FILE, arrays.VECTORS_FOLDER) == (
        Embeddings.IDS,
        Embeddings.HASHES,
        Embeddings.VECTORS,
    )
    assert description.EMBEDDER_FILE == Embeddings.EMBEDDER
