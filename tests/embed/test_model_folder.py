"""What a model's folder says: prompts, limits, its digest; and that nothing is fetched."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import EmbedSettings
from pipeline.embed import model_folder, registry
from pipeline.errors import ConfigError, IndexFormatError


def write(folder: Path, name: str, value: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def prompted(folder: Path, **prompts: Any) -> Path:
    write(folder, "config_sentence_transformers.json", {"prompts": prompts})
    return folder


@pytest.mark.parametrize(
    ("prompts", "document", "query"),
    [
        ({}, "", ""),
        ({"query": "q: "}, "", "q: "),
        ({"query": "q: ", "passage": "p: "}, "p: ", "q: "),
        ({"document": "d: ", "passage": "p: "}, "d: ", ""),
        ({"document": "", "corpus": "c: "}, "c: ", ""),
        ({"query": 7}, "", ""),
    ],
)
def test_prompts_are_the_folders(tmp_path: Path, prompts: dict[str, Any], document: str, query: str) -> None:
    assert model_folder.prefixes(prompted(tmp_path, **prompts), EmbedSettings()) == model_folder.Prefixes(document, query)


def test_a_prefix_of_the_settings_wins_also_an_empty_one(tmp_path: Path) -> None:
    folder = prompted(tmp_path, query="q: ", document="d: ")
    given = EmbedSettings(embed_query_prefix="", embed_document_prefix="mine: ")
    assert model_folder.prefixes(folder, given) == model_folder.Prefixes("mine: ", "")
    assert model_folder.prefixes(None, EmbedSettings()) == model_folder.Prefixes("", "")


def test_the_limit_of_tokens_is_the_folders_or_the_settings_within_the_models_positions(tmp_path: Path) -> None:
    assert model_folder.max_tokens(tmp_path, EmbedSettings()) is None
    assert model_folder.max_tokens(tmp_path, EmbedSettings(), default=9) == 9
    write(tmp_path, "sentence_bert_config.json", {"max_seq_length": 256})
    write(tmp_path, "config.json", {"max_position_embeddings": 512})
    assert model_folder.max_tokens(tmp_path, EmbedSettings(), default=9) == 256
    assert model_folder.max_tokens(tmp_path, EmbedSettings(embed_max_tokens=512)) == 512
    with pytest.raises(ConfigError, match="512 positions"):
        model_folder.max_tokens(tmp_path, EmbedSettings(embed_max_tokens=513))


@pytest.mark.parametrize("text", ["", "[]", "{", "\udcff"])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config_sentence_transformers.json").write_text(text, errors="surrogateescape")
    with pytest.raises(IndexFormatError, match=r"config_sentence_transformers\.json cannot be read"):
        model_folder.prefixes(tmp_path, EmbedSettings())


def test_the_digest_is_of_names_and_bytes_of_what_a_run_may_read(tmp_path: Path) -> None:
    write(tmp_path, "model.safetensors", "weights")
    write(tmp_path, "1_Pooling/config.json", {})
    digest = model_folder.digest_folder(tmp_path)
    for unread in ("README.md", ".git/config", "onnx/model.onnx", "x/__pycache__/a.pyc"):
        write(tmp_path, unread, "x")
    assert model_folder.digest_folder(tmp_path) == digest
    seen = {digest}
    for changed in ("model.safetensors", "1_Pooling/config.json", "modeling.py", "tokenizer.json"):
        write(tmp_path, changed, f"another {changed}")
        seen.add(model_folder.digest_folder(tmp_path))
    assert len(seen) == 5


@pytest.mark.parametrize("embedder", ["sentence-transformers", "onnx"])
def test_a_model_that_is_no_folder_is_refused(embedder: Any) -> None:
    for model in ("/nowhere/model", "../model", "a b/c", "model") + (("owner/name",) if embedder == "onnx" else ()):
        with pytest.raises(ConfigError, match=r"no folder|no absolute path"):
            registry.embedder_digest(EmbedSettings(embedder=embedder, embed_model=model))
    if embedder == "sentence-transformers":
        with pytest.raises(ConfigError, match="needs a model"):
            registry.embedder_digest(EmbedSettings(embedder=embedder))


def test_a_folder_below_the_working_directory_is_never_taken_for_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "owner/name/config.json", {})
    monkeypatch.chdir(tmp_path)
    settings = EmbedSettings(embedder="sentence-transformers", embed_model="owner/name")
    with pytest.raises(ConfigError, match="not in the hub's cache"):
        model_folder.find_folder(settings)
    whole = EmbedSettings(embedder="sentence-transformers", embed_model=str(tmp_path / "owner" / "name"))
    assert model_folder.find_folder(whole) == (tmp_path / "owner" / "name").resolve()


@pytest.mark.parametrize("allowed", [False, True])
def test_nothing_is_fetched_unless_a_setting_allows_it_and_the_environment_too(
    monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", allowed)
    settings = EmbedSettings(embedder="sentence-transformers", embed_model="owner/name@main", embed_allow_download=allowed)
    with pytest.raises(ConfigError, match="neither a folder nor to be had from the hub") as caught:
        registry.embedder_digest(settings)
    assert ("embed_allow_download" in str(caught.value)) is not allowed


def test_a_download_that_is_allowed_and_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def failing(name: str, **keywords: Any) -> str:
        asked.append((name, keywords["revision"], keywords["local_files_only"]))
        raise OSError("no route to host\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", failing)
    settings = EmbedSettings(embedder="sentence-transformers", embed_model="owner/name@v1", embed_allow_download=True)
    with pytest.raises(ConfigError, match="OSError: no route to host"):
        registry.embedder_digest(settings)
    assert asked == [("owner/name", "v1", False)]
