"""The twin: an index without the text of masked queries, and else the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import Settings, SpladeSettings
from pipeline.embed import registry
from pipeline.embed.interface import document_text
from pipeline.errors import RuntimeLifecycleError
from pipeline.evaluation.asking import reply
from pipeline.evaluation.twin import twin_of
from pipeline.files import digest_file, tree_files
from pipeline.search.channels.registry import State
from tests.evaluation.yard import HULL, artefacts, build, chunks_of, opened, query, questions
from tests.index.splade.conftest import WordEncoder, words_encoder
from tests.index.xtr.conftest import WordEncoder as TokenEncoder
from tests.index.xtr.conftest import use

__all__ = ["words_encoder"]


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Any:
    """The small repository, indexed. Not to be changed."""
    return build(tmp_path_factory.mktemp("yard"), indexctl)


def found(one: Any, text: str, channel: str) -> list[int]:
    ranking = reply(one, text, 10).consulted[channel].found
    return [] if ranking is None else ranking.ranking.ids.tolist()


@pytest.mark.parametrize(
    ("rare", "uri"),
    [
        ("barnacles scraped keel", "yard/ships.py"),
        ("predict the moment, by the almanac", "yard/tides.py"),
        ("hoists a lorry", "web/crane.js"),
    ],
)
def test_a_masked_docstring_is_found_by_its_words_in_the_index_and_not_in_the_twin(yard: Any, rare: str, uri: str) -> None:
    with opened(yard) as one, twin_of(one, questions(one)) as twin:
        assert twin is not None and twin.facts.missed == 0 and twin.facts.queries == 3
        wanted = set(chunks_of(one, uri))
        assert wanted & set(found(one, rare, "lexical")[:2])
        if uri == "yard/ships.py":
            rare = "barnacles scraped"  # The code has a keel.
        assert not wanted & set(found(twin.opened, rare, "lexical"))


def test_copies_of_a_masked_chunk_lose_the_text_too(yard: Any) -> None:
    with opened(yard) as one, twin_of(one, [query(one, HULL, "yard/ships.py", mask=HULL)]) as twin:
        assert twin is not None
        copies = set(chunks_of(one, "attic/ships.py"))
        assert copies & set(found(one, "barnacles", "lexical"))
        assert not found(twin.opened, "barnacles", "lexical") and twin.facts.chunks == 2


def test_what_is_not_masked_answers_the_same_in_both(yard: Any) -> None:
    with opened(yard) as one, twin_of(one, questions(one)) as twin:
        assert twin is not None and len(twin.opened.lexical) == len(one.lexical)
        for text in ("put_rope", "what does a night at the quay cost", "Ship.is_clean", "stores/tar/shelf.py"):
            assert reply(twin.opened, text, 5).ranked.best(1).tolist() == reply(one, text, 5).ranked.best(1).tolist()
            assert set(found(twin.opened, text, "symbol")) == set(found(one, text, "symbol"))


def test_only_masked_chunks_have_other_vectors_and_those_are_of_the_text_that_is_left(yard: Any) -> None:
    with opened(yard) as one, twin_of(one, [query(one, HULL, "yard/ships.py", mask=HULL)]) as twin:
        assert twin is not None
        ids = one.lexical.files.ids
        same = (one.vectors.vectors_of(ids) == twin.opened.vectors.vectors_of(ids)).all(axis=1)
        masked = chunks_of(one, "yard/ships.py") + chunks_of(one, "attic/ships.py")
        assert set(ids[~same].tolist()) == set(masked)
        [chunk] = chunks_of(one, "yard/ships.py")
        left = (yard.repo / "yard/ships.py").read_text().replace(HULL, "")
        [row] = one.lexical.documents([chunk])
        expected = registry.load(one.embed_settings).encode([document_text(row["name"], "yard/ships.py", left)])
        assert np.allclose(twin.opened.vectors.vectors_of(np.array([chunk])), expected, atol=1e-6)


def test_names_still_find_what_lost_its_documentation(yard: Any) -> None:
    with opened(yard) as one, twin_of(one, questions(one)) as twin:
        assert twin is not None
        assert found(twin.opened, "is_clean", "symbol") == found(one, "is_clean", "symbol") != []


def test_the_twin_leaves_the_index_as_it_was_and_vanishes(yard: Any) -> None:
    def contents() -> dict[Path, str]:
        return {path: digest_file(path) for artefact in artefacts(yard) for path in tree_files(artefact.path)}

    before = contents()
    with opened(yard) as one, twin_of(one, questions(one)) as twin:
        assert twin is not None
        folder = twin.opened.version.ensure()
        assert folder.is_dir()
    assert not folder.exists() and contents() == before


def test_queries_that_hide_nothing_need_no_twin_and_a_text_that_is_nowhere_is_told(yard: Any) -> None:
    with opened(yard) as one:
        with twin_of(one, [query(one, "put_rope", "stores/rope/shelf.py")]) as twin:
            assert twin is None
        with twin_of(one, [query(one, "x", "yard/fees.py", mask="Nobody ever wrote these words.")]) as twin:
            assert twin is not None and (twin.facts.missed, twin.facts.chunks) == (1, 0)
            assert found(twin.opened, "night at the quay", "lexical") == found(one, "night at the quay", "lexical")


@pytest.mark.parametrize("family", ["hnsw", "sq8"])
def test_families_that_are_not_exact_have_a_twin_too(family: str, tmp_path: Path, indexctl: Any) -> None:
    world = build(tmp_path, indexctl, CODEINTEL_FAISS_FAMILY=family)
    with opened(world) as one, twin_of(one, questions(one)) as twin:
        assert twin is not None and one.vectors.family.name == twin.opened.vectors.family.name == family
        assert twin.opened.point == one.point
        dense = reply(twin.opened, HULL, 10).consulted["dense"]
        assert dense.found is not None and len(dense.found.ranking.ids) == len(one.lexical)


def test_an_embedder_that_is_gone_breaks_the_channel_and_not_the_twin(yard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(settings: object) -> object:
        raise RuntimeLifecycleError("The server is gone.")

    with opened(yard) as one:
        monkeypatch.setattr(registry, "load", gone)
        with twin_of(one, questions(one)) as twin:
            assert twin is not None
            given = reply(twin.opened, HULL, 10).consulted
            assert (given["dense"].state, given["dense"].reason) == (State.BROKEN, "The server is gone.")
            assert given["lexical"].state is State.ANSWERED


def test_learned_weights_are_those_of_the_text_that_is_left(tmp_path: Path, indexctl: Any, words_encoder: WordEncoder) -> None:
    world = build(
        tmp_path, indexctl, CODEINTEL_SPLADE="on", CODEINTEL_SPLADE_MODEL="/a/model", CODEINTEL_SPLADE_DOCUMENT_TERMS="64"
    )
    settings = Settings(splade=SpladeSettings(splade="on", splade_model="/a/model"))
    with opened(world, settings) as one, twin_of(one, questions(one)) as twin:
        assert twin is not None and twin.facts.without == []
        assert found(one, "barnacles", "splade") and not found(twin.opened, "barnacles", "splade")
        assert found(one, "quay", "splade") == found(twin.opened, "quay", "splade") != []


def test_tokens_are_left_out_and_that_is_told(tmp_path: Path, indexctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use(TokenEncoder(), monkeypatch)
    world = build(tmp_path, indexctl, CODEINTEL_XTR="on")
    with opened(world) as one, twin_of(one, questions(one)) as twin:
        assert twin is not None and twin.facts.without == ["xtr"]
        assert reply(one, HULL, 10).consulted["xtr"].state is State.ANSWERED
        assert reply(twin.opened, HULL, 10).consulted["xtr"].state is State.OFF
