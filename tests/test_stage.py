"""Keys: a function of everything that a result depends on, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import ChunkSettings, EmbedSettings, SearchSettings, Settings, SourceSettings
from pipeline.schemas import Chunks, Definitions, Embeddings, Files, Snapshot
from pipeline.settings_files import from_flat
from pipeline.stage import Artefact, Facts, Output, Stage
from pipeline.stages import KINDS, STAGES
from pipeline.workers import Runtime


@dataclass(frozen=True)
class Tree:
    digest: str


def work(
    source: Artefact[Snapshot],
    definitions: Artefact[Definitions],
    tree: Tree,
    settings: ChunkSettings,
    embedding: EmbedSettings,
    runtime: Runtime,
    out: Output[Chunks],
    vectors: Output[Embeddings],
) -> Facts:
    (out.path / "seen").write_text(f"{source.key} {definitions.key} {tree.digest} {settings.chunk_budget} {runtime.workers}")
    return {"vectors": vectors.path.name}


def _uses(settings: Settings) -> Mapping[str, str]:
    return {"library": "1", "weights": "w"}


STAGE = Stage(work, code_version="1", uses=_uses)
KEYS = {"source_snapshot": "s", "definitions": "d", "unrelated": "u"}


def key(
    stage: Stage = STAGE, settings: Settings | None = None, keys: Mapping[str, str] = KEYS, tree: str = "t", kind: Any = Chunks
) -> str:
    return stage.key(kind, settings or Settings(), keys, {"tree": Tree(tree)})


def test_a_signature_is_a_data_flow() -> None:
    assert STAGE.name == "work"
    assert STAGE.inputs == {"source": Snapshot, "definitions": Definitions}
    assert STAGE.outputs == {"out": Chunks, "vectors": Embeddings}
    assert STAGE.sections == {"settings": ChunkSettings, "embedding": EmbedSettings}
    assert STAGE.externals == ("tree",)
    assert STAGE.assets == ("chunks", "embeddings")


def test_a_key_is_32_hex_digits_and_stable() -> None:
    assert key() == key()
    assert len(key()) == 32 and set(key()) <= set("0123456789abcdef")


def test_the_recipe_holds_all_that_the_key_is_made_of() -> None:
    assert STAGE.recipe(Chunks, Settings(), KEYS, {"tree": Tree("t")}) == {
        "asset": "chunks/2",
        "code_version": "1",
        "settings": {
            "ChunkSettings": {"chunk_budget": 1500, "id_strategy": "content", "id_salt": ""},
            "EmbedSettings": {"embedder": "static"},
        },
        "inputs": {"source_snapshot": "s", "definitions": "d"},
        "external": {"tree": "t"},
        "uses": {"library": "1", "weights": "w"},
    }


@pytest.mark.parametrize(
    "settings", [{"chunk_budget": 1501}, {"id_strategy": "span"}, {"id_salt": "x"}], ids=lambda settings: next(iter(settings))
)
def test_a_declared_setting_changes_the_key(settings: dict[str, Any]) -> None:
    assert key(settings=from_flat(settings, origin="test")) != key()


@pytest.mark.parametrize("section", [SourceSettings(max_file_bytes=7), SearchSettings(default_k=3)])
def test_an_undeclared_setting_does_not_change_the_key(section: Any) -> None:
    settings = Settings(**{"source" if isinstance(section, SourceSettings) else "search": section})
    assert settings != Settings() and key(settings=settings) == key()


def test_every_other_ingredient_changes_the_key() -> None:
    others = {
        key(replace(STAGE, code_version="2")),
        key(replace(STAGE, uses=lambda settings: {"library": "2", "weights": "w"})),
        key(replace(STAGE, uses=lambda settings: {})),
        key(keys={**KEYS, "source_snapshot": "other"}),
        key(keys={**KEYS, "definitions": "other"}),
        key(keys={**KEYS, "definitions": "s", "source_snapshot": "d"}),
        key(tree="other"),
        key(kind=Embeddings),
    }
    assert len(others) == 8 and key() not in others


def test_what_does_not_matter_does_not_change_the_key() -> None:
    assert key(keys={**KEYS, "unrelated": "other"}) == key()
    assert key(keys=dict(reversed(KEYS.items()))) == key()
    assert key(replace(STAGE, uses=lambda settings: dict(reversed(_uses(settings).items())))) == key()


def test_a_new_version_of_a_schema_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr(Chunks, "version", 99)
    assert key() != before


def test_a_missing_input_is_not_a_key() -> None:
    with pytest.raises(KeyError, match="definitions"):
        key(keys={"source_snapshot": "s"})


def test_a_call_hands_over_what_the_signature_asks_for(tmp_path: Path) -> None:
    for name in ("chunks", "embeddings"):
        (tmp_path / name).mkdir()
    made: dict[str, Artefact[Any]] = {
        asset: Artefact("r", asset, f"key of {asset}", tmp_path, "", "", {}) for asset in ("source_snapshot", "definitions")
    }
    facts = STAGE.call(
        made,
        from_flat({"chunk_budget": 99}, origin="test"),
        {"tree": Tree("t")},
        Runtime(workers=3),
        {"chunks": tmp_path / "chunks", "embeddings": tmp_path / "embeddings"},
    )
    assert (tmp_path / "chunks" / "seen").read_text() == "key of source_snapshot key of definitions t 99 3"
    assert facts == {"vectors": "embeddings"}


def test_the_stages_are_in_topological_order_and_make_each_asset_once() -> None:
    made: list[str] = []
    for stage in STAGES:
        assert {kind.asset for kind in stage.inputs.values()} <= set(made), stage.name
        made.extend(stage.assets)
    assert len(made) == len(set(made)) and set(KINDS) == set(made)


def test_kinds_of_one_object_share_their_asset() -> None:
    assert Files.asset == Snapshot.asset and Chunks.tag() == "chunks/2"
