"""The stage and the channel, with an encoder without a model: what is encoded again, what is told, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import files
from pipeline.config import Settings, SpladeSettings
from pipeline.errors import ConfigError
from pipeline.index.splade.index_files import open_postings, read_meta
from pipeline.index.splade.stage import STAGE, splade_index
from pipeline.schemas import Chunks, SpladeIndex
from pipeline.settings_files import FILE_NAME, load
from pipeline.stage import Artefact, Output
from pipeline.workers import Runtime

ON = {
    "CODEINTEL_SPLADE": "on", "CODEINTEL_SPLADE_MODEL": "/any", "CODEINTEL_SPLADE_DOCUMENT_TERMS": "64",
    "CODEINTEL_EVAL_QUERIES": "0",  # An evaluation encodes, too.
}  # fmt: skip


def chunks_of(world: Any) -> Artefact[Chunks]:
    return Artefact("demo", "chunks", "k", world.published, Chunks.tag(), "", {})


def run(world: Any, out: Path, shared: Path | None, **changes: Any) -> Any:
    out.mkdir(parents=True)
    settings = SpladeSettings(**{"splade": "on", "splade_document_terms": 64, **changes})
    return splade_index(chunks_of(world), settings, Runtime(shared=shared), Output(out))


def test_off_is_a_note_and_needs_nothing(built: Any, tmp_path: Path) -> None:
    assert run(built, tmp_path / "off", None, splade="off") == {"state": "off", "documents": 0}
    assert [path.name for path in files.tree_files(tmp_path / "off")] == [SpladeIndex.META]
    assert built.published.joinpath(SpladeIndex.META).read_bytes() == (tmp_path / "off" / SpladeIndex.META).read_bytes()


def test_every_chunk_is_a_document(built: Any, tmp_path: Path, words_encoder: Any) -> None:
    facts = run(built, tmp_path / "on", None)
    meta = read_meta(tmp_path / "on")
    assert facts["documents"] == meta.documents == len(words_encoder.encoded) > 5
    assert facts["postings"] == meta.postings > 0 and facts["saturated"] == 0
    assert meta.encoder is not None and meta.encoder.digest == words_encoder.digest == facts["digest"]
    assert np.all(open_postings(tmp_path / "on", meta).impacts == 200)


def test_what_was_encoded_is_not_encoded_again_and_the_bytes_are_the_same(
    built: Any, tmp_path: Path, words_encoder: Any
) -> None:
    run(built, tmp_path / "plain", None)
    run(built, tmp_path / "first", tmp_path / "shared")
    words_encoder.encoded.clear()
    run(built, tmp_path / "second", tmp_path / "shared")
    assert words_encoder.encoded == []
    plain, first, second = (files.tree_files(tmp_path / name) for name in ("plain", "first", "second"))
    assert [a.read_bytes() for a in plain] == [b.read_bytes() for b in first] == [c.read_bytes() for c in second]
    run(built, tmp_path / "third", tmp_path / "shared", splade_bits=8)
    assert words_encoder.encoded


def test_an_encoder_that_fails_half_way_loses_nothing_it_did(built: Any, tmp_path: Path, words_encoder: Any) -> None:
    encode = words_encoder.encode

    def failing(texts: Any) -> Any:
        yield from encode(texts[:3])
        raise MemoryError("no more")

    words_encoder.encode = failing
    with pytest.raises(MemoryError):
        run(built, tmp_path / "failed", tmp_path / "shared")
    words_encoder.encode = encode
    words_encoder.encoded.clear()
    facts = run(built, tmp_path / "done", tmp_path / "shared")
    assert len(words_encoder.encoded) == facts["documents"] - 3


def test_the_key_goes_by_what_the_encoder_is_and_while_off_by_nothing(words_encoder: Any) -> None:
    def key(**changes: Any) -> str:
        return STAGE.key(SpladeIndex, Settings(splade=SpladeSettings(**changes)), {"chunks": "k"}, {})

    assert key() == key(splade_model="/other", splade_bits=8)
    on = key(splade="on", splade_model="/any")
    assert on != key() and on == key(splade="on", splade_model="/any", splade_batch_size=7)
    assert on != key(splade="on", splade_model="/any", splade_bits=8)
    assert on != key(splade="on", splade_model="/any", splade_document_terms=8)
    words_encoder.digest = "another"
    assert on != key(splade="on", splade_model="/any")


def test_an_edit_encodes_what_changed_and_the_answer_says_how_the_channel_fared(world: Any, words_encoder: Any) -> None:
    off = world("search", "tariff", "--json").json["channels"]["splade"]
    assert off["state"] == "off" and 'splade = "on"' in off["reason"]
    assert world.build(env=ON).code == 0 and len(words_encoder.encoded) > 5
    assert world("verify").code == 0
    found = world("search", "tariff", "--json", env=ON).json
    assert found["channels"]["splade"]["state"] == "answered" and found["channels"]["lexical"]["found"] == 0
    best = found["results"][0]
    assert best["uri"] in ("harbour/fees.py", "README.md") and best["explanation"]["splade"]["contribution"] > 0
    # What was asked is not there; what it means is.
    assert best["explanation"]["splade"]["detail"].startswith("fee 0.")
    assert " by fee 0." in world("search", "tariff", "--explain", env=ON).out
    words_encoder.encoded.clear()
    (world.repo / "harbour" / "more.py").write_text("def waived():\n    return 'tariff'\n")
    assert world.build(env=ON).code == 0
    assert [text.split("\n")[0] for text in words_encoder.encoded] == ["harbour/more.py"]
    assert world("search", "tariff", "--path", "*more.py", "--json", env=ON).json["results"][0]["uri"] == "harbour/more.py"


def test_another_encoder_is_told_as_broken_and_the_query_is_answered(world: Any, words_encoder: Any) -> None:
    assert world.build(env=ON).code == 0
    words_encoder.digest = "another"
    done = world("search", "berth fee", "--json", env=ON)
    told = done.json["channels"]["splade"]
    assert done.code == 0 and done.json["results"] and told["state"] == "broken"
    assert "another state of splade/words" in told["reason"] and "indexctl build" in told["reason"]
    words_encoder.name = "splade/others"
    told = world("search", "berth fee", "--json", env=ON).json["channels"]["splade"]
    assert "made by splade/words, not splade/others" in told["reason"]
    assert (
        world("search", "berth fee", "--json", env={**ON, "CODEINTEL_SPLADE_WEIGHT": "0"}).json["channels"]["splade"]["state"]
        == "off"
    )


def test_fewer_terms_of_a_query_are_looked_up_where_a_setting_says_so(world: Any, words_encoder: Any) -> None:
    assert world.build(env=ON).code == 0

    def found(**more: str) -> int:
        answer = world("search", "berth hull inspection discount", "--json", "-k", "50", env={**ON, **more})
        return int(answer.json["channels"]["splade"]["found"])

    assert 0 < found(CODEINTEL_SPLADE_QUERY_TERMS="1") < found()


def test_a_damaged_index_is_told_as_broken(world: Any, words_encoder: Any) -> None:
    assert world.build(env=ON).code == 0
    path = world.published / SpladeIndex.DIRECTORY / "rows.npy"
    raw = path.read_bytes()
    path.unlink()  # a hard link of the object's file
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    done = world("search", "berth fee", "--json", env=ON)
    assert done.code == 0 and done.json["results"] and done.json["channels"]["splade"]["state"] == "broken"
    assert world("verify").code == 1


@pytest.mark.parametrize("setting", [{"splade": "on"}, {"splade_model": "/tmp/mine"}, {"splade_allow_download": True}])
def test_a_repository_may_not_say_which_model_is_run(tmp_path: Path, setting: dict[str, Any]) -> None:
    (name, value), *_ = setting.items()
    (tmp_path / FILE_NAME).write_text(f"{name} = {str(value).lower() if value is True else repr(value)}\n")
    with pytest.raises(ConfigError, match=f"`{name}` cannot be set by a repository"):
        load(repository=tmp_path, environment={})
