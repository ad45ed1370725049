"""Which family is chosen, and when FAISS may be imported."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import metadata

import pytest

from pipeline.errors import ConfigError
from pipeline.index import faiss_families, faiss_meta
from pipeline.index.faiss_families import FAMILIES, choose, import_faiss
from pipeline.schemas import Embeddings, FaissIndex


@pytest.fixture(autouse=True)
def fresh_import() -> Iterator[None]:
    import_faiss.cache_clear()
    yield
    import_faiss.cache_clear()


@pytest.mark.parametrize("n", [0, 1, 10_000_000])
@pytest.mark.parametrize("name", ["auto", "flat"])
def test_auto_and_flat_are_exact_search_under_an_id_map(name: str, n: int) -> None:
    family = choose(name, n)
    assert (family.name, family.mapping, family.factory(256, n)) == ("flat", "idmap2", "IDMap2,Flat")


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no FAISS family `hnsw9`") as caught:
        choose("hnsw9", 10)
    assert "flat" in caught.value.hint


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_builds_an_index_of_the_mapping_it_names(name: str) -> None:
    faiss = import_faiss()
    family = FAMILIES[name]
    index = faiss.index_factory(16, family.factory(16, 1000), faiss.METRIC_INNER_PRODUCT)
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
    monkeypatch.setattr(faiss_families, "_installed", lambda name: name == "faiss-gpu")
    assert import_faiss().__name__ == "faiss"


def test_the_reader_knows_files_by_the_names_of_the_schemas() -> None:
    assert (faiss_meta.INDEX_FILE, faiss_meta.META_FILE) == (FaissIndex.INDEX, FaissIndex.META)
    assert (faiss_meta.IDS_FILE, faiss_meta.VECTORS_FILE) == (Embeddings.IDS, Embeddings.VECTORS)
    assert faiss_meta.EMBEDDER_FILE == Embeddings.EMBEDDER
