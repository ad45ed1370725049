"""The stage, the channel and the late stage the whole way, with an encoder whose tokens are words."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config import SearchSettings, Settings, XtrSettings
from pipeline.errors import ConfigError
from pipeline.files import tree_files
from pipeline.index.xtr.description import DIRECTORY, read_meta
from pipeline.index.xtr.places import DEFINED, SYMBOL
from pipeline.index.xtr.token_index import TokenIndex
from pipeline.release.checks import CHECKS
from pipeline.release.findings import Subject
from pipeline.search.channels.registry import State
from pipeline.search.engine import Searcher, open_searcher
from pipeline.settings_files import load
from pipeline.store.layout import Store
from tests.index.xtr.conftest import WordEncoder, use, write

ON = {"CODEINTEL_XTR": "on"}
CHECK = next(check for check in CHECKS if check.name == "tokens_match_chunks")


@pytest.fixture(scope="module")
def once(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The demo repository, built with token vectors. Not to be changed."""
    world = replace(built, store=tmp_path_factory.mktemp("tokens") / "store")
    shutil.copytree(built.store, world.store, symlinks=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(WordEncoder(), monkeypatch)
        done = world.build(env=ON)
    assert done.code == 0, done.err
    return world


@pytest.fixture
def tokens(once: Any, tmp_path: Path, word_encoder: WordEncoder) -> Any:
    """A copy of it that a test may change; `word_encoder` has read nothing yet."""
    world = replace(once, repo=tmp_path / "demo", store=tmp_path / "store")
    shutil.copytree(once.repo, world.repo, symlinks=True)
    shutil.copytree(once.store, world.store, symlinks=True)
    origin = world.home / "repository.json"
    origin.write_text(origin.read_text().replace(str(once.repo), str(world.repo)))
    return world


def searcher(world: Any, **settings: Any) -> Searcher:
    return open_searcher(Store(world.store).repository("demo"), Settings(search=SearchSettings(**settings)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree_files(folder) if "xtr" in path.relative_to(folder).as_posix()}


def test_off_is_told_and_costs_nothing(built: Any) -> None:
    assert read_meta(built.published).state == "off" and not (built.published / DIRECTORY).exists()
    finding = CHECK.run(Subject({"xtr_index": built.published, "chunks": built.published}))
    assert finding.passed and finding.facts == {"state": "off", "tokens": 0}
    with searcher(built, xtr_rerank=5) as opened:
        answer = opened.answer("berth fee", explain=True)
    assert answer.hits and not answer.hits[0].tokens
    for name in ("xtr", "xtr_rerank"):
        assert answer.channels[name].state is State.OFF and "without token vectors" in answer.channels[name].reason


def test_a_version_with_tokens_verifies_and_says_how_many(tokens: Any) -> None:
    index = TokenIndex.open(tokens.published)
    done = tokens("verify", "--json", env=ON)
    assert done.code == 0 and done.json["ok"]
    finding = CHECK.run(Subject({"xtr_index": tokens.published, "chunks": tokens.published}))
    assert finding.passed and finding.facts["tokens"] == index.tokens > 100
    with searcher(tokens) as opened:
        assert opened.version.manifest.counts["tokens"] == index.tokens
        assert opened.version.manifest.artefacts["xtr_index"].facts["encoder"] == "xtr/words"


def test_building_again_reads_nothing_twice_and_gives_the_same_bytes(tokens: Any, word_encoder: WordEncoder) -> None:
    before = contents(tokens.published)
    shutil.rmtree(tokens.home / "objects" / "xtr_index")
    shutil.rmtree(tokens.home / "versions")
    (tokens.home / "CURRENT").unlink()
    assert tokens.build(env=ON).code == 0
    assert contents(tokens.published) == before and not word_encoder.encoded
    shutil.rmtree(tokens.store / "_shared" / "tokens")
    shutil.rmtree(tokens.home / "objects" / "xtr_index")
    shutil.rmtree(tokens.home / "versions")
    (tokens.home / "CURRENT").unlink()
    assert tokens.build(env=ON).code == 0
    assert contents(tokens.published) == before and word_encoder.encoded


def test_a_change_encodes_what_changed_and_gives_what_a_build_from_scratch_gives(
    tokens: Any, word_encoder: WordEncoder, tmp_path: Path
) -> None:
    path = tokens.repo / "harbour/tides.py"
    path.write_text(path.read_text().replace("12.42", "12.5"))
    assert tokens.build(env=ON).code == 0
    assert 0 < len(word_encoder.encoded) <= 2
    changed = contents(tokens.published)
    elsewhere = tmp_path / "elsewhere"
    done = tokens._run("build", tokens.repo, "--repo", "demo", "--data", elsewhere, "--json", "--ephemeral", env=ON)
    assert done.code == 0, done.err
    fresh = elsewhere / "demo" / "versions" / (elsewhere / "demo" / "CURRENT").read_text().strip()
    assert contents(fresh) == changed


def test_tokens_of_names_are_told_from_others(tokens: Any) -> None:
    index = TokenIndex.open(tokens.published)
    with searcher(tokens, xtr_spans="definitions", xtr_span_bonus=0.0, xtr_rerank=10) as opened:
        hits = opened.answer("is_seaworthy", explain=True).hits
    hit = next(hit for hit in hits if hit.uri == "harbour/ships.py")
    text = (tokens.repo / hit.uri).read_bytes()
    match = next(match for match in hit.tokens if match.query == "seaworthy")
    assert match.text == "seaworthy" and match.similarity > 0.95
    assert text[match.start_byte : match.end_byte] == b"seaworthy"
    assert match.line == text[: match.start_byte].count(b"\n") + 1
    assert text[text.rindex(b"def", 0, match.start_byte) : match.end_byte] == b"def is_seaworthy"
    defined, symbols = index.roles & DEFINED > 0, index.roles & SYMBOL > 0
    assert 0 < defined.sum() < symbols.sum() < index.tokens


def test_the_channel_finds_by_words_of_the_text_and_explains_by_token(tokens: Any) -> None:
    alone = {"lexical_weight": 0.0, "dense_weight": 0.0, "symbol_weight": 0.0, "path_weight": 0.0}
    with searcher(tokens, **alone) as opened:
        answer = opened.answer("discount for long stays", explain=True)
    assert answer.channels["xtr"].state is State.ANSWERED and list(answer.hits[0].channels) == ["xtr"]
    assert answer.hits[0].uri == "harbour/fees.py"
    matched = {match.query: match.text for match in answer.hits[0].tokens}
    assert matched == {"discount": "discount", "for": "for", "long": "long", "stays": "stays"}
    told = tokens("search", "discount for long stays", "--explain", env=ON)
    assert "tokens discount → discount 1.00 (line 5)" in " ".join(told.out.split()), told.out
    rows = tokens("search", "discount for long stays", "--explain", "--json", env=ON).json["results"]
    assert rows[0]["tokens"][0]["text"] == "discount" and rows[0]["tokens"][0]["line"] == 5
    plain = tokens("search", "discount for long stays", "--json", env=ON).json
    assert "tokens" not in plain["results"][0] and plain["channels"]["xtr"]["state"] == "answered"


def test_the_late_stage_scores_the_best_candidates_again_and_no_others(tokens: Any) -> None:
    with searcher(tokens, xtr_weight=0.0) as opened:
        plain = {hit.id: hit.score for hit in opened.search("quay ships name", 50)}
    with searcher(tokens, xtr_weight=0.0, xtr_rerank=3, xtr_rerank_weight=2.0) as opened:
        answer = opened.answer("quay ships name", 50)
    factors = {hit.id: hit.adjustments.get("tokens", 1.0) for hit in answer.hits}
    best = sorted(plain, key=lambda one: -plain[one])[:3]
    assert {one for one, factor in factors.items() if factor != 1.0} <= set(best)
    assert max(factors.values()) == pytest.approx(3.0) and factors[answer.hits[0].id] == max(factors.values())
    assert {hit.id: hit.score for hit in answer.hits} == pytest.approx({one: plain[one] * factors[one] for one in plain})
    assert answer.channels["xtr_rerank"].state is State.ANSWERED


def test_filters_hold_for_the_channel(tokens: Any) -> None:
    from pipeline.search.engine import Filters

    with searcher(tokens) as opened:
        answer = opened.answer("berth", filters=Filters(path=("harbour/ships.py",)))
    assert {hit.uri for hit in answer.hits} == {"harbour/ships.py"}
    assert answer.channels["xtr"].state is State.ANSWERED


def test_tokens_of_another_encoder_are_told_as_broken_and_the_query_goes_on(tokens: Any, word_encoder: WordEncoder) -> None:
    word_encoder.digest = "words-2"
    with searcher(tokens, xtr_rerank=5) as opened:
        answer = opened.answer("berth fee", explain=True)
    assert answer.hits and not answer.hits[0].tokens
    for name in ("xtr", "xtr_rerank"):
        told = answer.channels[name]
        assert told.state is State.BROKEN and "were made by" in told.reason and "xtr_model" in told.reason
    done = tokens("search", "berth fee", env=ON)
    assert done.code == 0 and "the channel `xtr` could not answer" in done.err


def test_damaged_tokens_are_told_as_broken_and_fail_verification(tokens: Any) -> None:
    path = tokens.published / DIRECTORY / "residuals.npy"
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[:-1] + b"\xff")
    with searcher(tokens) as opened:
        answer = opened.answer("berth fee")
    assert answer.hits and answer.channels["xtr"].state is State.BROKEN
    done = tokens("verify", "--json", env=ON)
    assert done.code == 1 and any(one["artefact"] == "xtr_index" for one in done.json["problems"])


def test_an_encoder_that_is_not_there_fails_the_build_with_the_way_out(world: Any, tmp_path: Path) -> None:
    done = world.build(env={**ON, "CODEINTEL_XTR_MODEL": str(tmp_path / "nowhere")})
    assert done.code == 2 and "`xtr_model` is" in done.err and "no folder" in done.err


@pytest.mark.parametrize("name", XtrSettings.__struct_fields__)
def test_a_repository_may_choose_no_encoder(tmp_path: Path, name: str) -> None:
    (tmp_path / "codeintel.toml").write_text(f'{name} = "on"\n')
    with pytest.raises(ConfigError, match=f"`{name}` cannot be set by a repository"):
        load(repository=tmp_path, environment={})


def test_chunks_without_their_tokens_fail_the_check(tokens: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "other", [(5, np.eye(3, 4))])
    finding = CHECK.run(Subject({"xtr_index": folder, "chunks": tokens.published}))
    assert not finding.passed and "1 chunks with tokens" in finding.problems[0]
