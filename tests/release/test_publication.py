"""Publishing, republishing, repairing and rolling back real versions."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import files
from pipeline.errors import IndexCorruptionError, InvariantViolationError, NotFoundError, RuntimeLifecycleError
from pipeline.index.dense.families import import_faiss
from pipeline.release.build_facts import vector_index_facts
from pipeline.release.publication import publish, rollback, switch
from pipeline.release.verification import VERSION_FINDINGS, verify_folder
from pipeline.store.layout import Repository
from pipeline.store.versions import (
    MANIFEST,
    current_name,
    history,
    open_version,
    read_build_facts,
    read_manifest,
    version_names,
)

World = Any


def _state(repository: Repository) -> dict[str, tuple[int, int, int]]:
    """Inode, size and time of every file."""
    return {
        str(path.relative_to(repository.path)): (status.st_ino, status.st_size, status.st_mtime_ns)
        for path in sorted(repository.path.rglob("*"))
        if path.is_file() and path.name != "builder.lock"
        for status in [path.lstat()]
    }


def _publish_all(world: World) -> list[str]:
    return [publish(world.repository, world.manifest(state)).version for state in world.states]


def _damage(path: Path) -> None:
    """Truncate a file of a version, but not the object that it may share its bytes with."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


def test_a_publication_is_verified_complete_and_current(world: World) -> None:
    manifest = world.manifest()
    published = publish(world.repository, manifest, build={"run": "r1"})

    assert published.flipped and published.previous is None
    assert published.verification is not None and published.verification.ok
    assert set(VERSION_FINDINGS) <= set(published.verification.findings)
    assert current_name(world.repository) == published.version == manifest.facts["version"]
    facts = read_build_facts(published.path)
    assert facts["run"] == "r1" and facts["published_at"] > 0 and "python" in facts["host"]
    document = read_manifest(published.path)
    assert document.counts["chunks"] == document.counts["vectors"] == document.counts["documents"] > 5
    assert document.settings["chunk_budget"] == 64 and document.parent is None
    present = {path.relative_to(published.path).as_posix() for path in files.tree_files(published.path)}
    assert present == {stored.path for stored in document.all_files()} | {"manifest.json", "build.json"}


def test_a_version_says_which_one_was_before_it(world: World) -> None:
    one, two, three = _publish_all(world)
    parents = [read_manifest(world.repository.versions / name).parent for name in (one, two, three)]
    assert parents == [None, one, two]
    assert [(flip.version, flip.previous) for flip in history(world.repository)] == [(one, None), (two, one), (three, two)]


def test_publishing_twice_rewrites_nothing(world: World) -> None:
    manifest = world.manifest()
    publish(world.repository, manifest)
    before = _state(world.repository)

    again = publish(world.repository, manifest)

    assert not again.flipped and again.previous == again.version
    assert _state(world.repository) == before


def test_published_files_are_those_of_the_objects(world: World) -> None:
    published = publish(world.repository, world.manifest())
    for name in ("faiss.index", "vectors/shard-000.npy", "chunks/part-000.parquet"):
        (original,) = world.repository.objects.glob(f"*/{world.states['one'][_asset(name)].key}/{name}")
        assert original.samefile(published.path / name)


def _asset(name: str) -> str:
    return {"faiss.index": "faiss_index", "vectors/shard-000.npy": "embeddings", "chunks/part-000.parquet": "chunks"}[name]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_linking_is_impossible_files_are_copied(number: int, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    published = publish(world.repository, world.manifest())

    assert verify_folder(published.path).ok
    assert all(path.stat().st_nlink == 1 for path in files.tree_files(published.path))


def test_a_version_outlives_the_object_cache(world: World) -> None:
    published = publish(world.repository, world.manifest())
    shutil.rmtree(world.repository.objects)
    assert verify_folder(published.path).ok


@pytest.mark.parametrize("asset", ["source_snapshot", "embeddings", "lexical_index"])
def test_an_object_that_vanished_stops_the_publication(asset: str, world: World) -> None:
    manifest = world.manifest()
    shutil.rmtree(world.root(asset))

    with pytest.raises(InvariantViolationError, match=f"{asset}/{world.states['one'][asset].key} is gone") as caught:
        publish(world.repository, manifest)
    assert "indexctl build" in caught.value.hint
    assert current_name(world.repository) is None and list(world.repository.versions.iterdir()) == []


@pytest.mark.parametrize("name", ["embeddings/part-000.parquet", "embedder.json", "ids.npy"])
def test_an_object_that_changed_after_the_manifest_stops_the_publication(name: str, world: World) -> None:
    manifest = world.manifest()
    path = world.root("embeddings") / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(InvariantViolationError, match=f"embeddings: {name} is not what it was"):
        publish(world.repository, manifest)
    assert current_name(world.repository) is None and list(world.repository.versions.iterdir()) == []


def _rewritten(world: World, change: Any) -> Any:
    """The manifest of state `one`, changed and sealed again."""
    manifest = world.manifest()
    document = msgspec.json.decode((manifest.path / MANIFEST).read_bytes())
    change(document)
    document.pop("digest")
    document["digest"] = files.digest_bytes(msgspec.json.encode(document, order="sorted"))
    (manifest.path / MANIFEST).write_bytes(files.canonical_json(document))
    return manifest


def test_a_manifest_with_a_wrong_digest_is_refused(world: World) -> None:
    manifest = _rewritten(world, lambda it: it["artefacts"]["faiss_index"]["files"][0].update(digest="0" * 64))
    with pytest.raises(InvariantViolationError, match=r"faiss_index: faiss\.index is not what it was"):
        publish(world.repository, manifest)


def test_a_manifest_with_wrong_counts_is_refused(world: World) -> None:
    manifest = _rewritten(world, lambda it: it["artefacts"]["chunks"]["rows"].update(chunks=3))
    with pytest.raises(InvariantViolationError, match=r"catalog: chunks has .* rows in DuckDB, 3 in the manifest"):
        publish(world.repository, manifest)


@pytest.mark.parametrize("asset", ["lexical_index", "faiss_idmap", "chunks"])
def test_a_manifest_without_an_artefact_is_refused(asset: str, world: World) -> None:
    manifest = _rewritten(world, lambda it: it["artefacts"].pop(asset))
    with pytest.raises(InvariantViolationError, match=asset):
        publish(world.repository, manifest)
    assert list(world.repository.versions.iterdir()) == []


def test_a_damaged_manifest_object_is_not_published(world: World) -> None:
    manifest = world.manifest()
    os.truncate(manifest.path / MANIFEST, 100)
    with pytest.raises(IndexCorruptionError, match=r"manifest\.json"):
        publish(world.repository, manifest)


@pytest.mark.parametrize("name", ["faiss.index", "manifest.json", "lexical/meta.json", "extra.txt"])
def test_a_damaged_published_version_is_assembled_again(name: str, world: World) -> None:
    manifest = world.manifest()
    published = publish(world.repository, manifest)
    path = published.path / name
    if path.exists():
        _damage(path)
    else:
        path.write_text("stray")
    assert not verify_folder(published.path).ok

    again = publish(world.repository, manifest)

    assert again.version == published.version and not again.flipped
    assert verify_folder(again.path).ok
    with open_version(world.repository) as version:
        version.ensure("faiss_index", "lexical_index")


def test_a_refused_repair_leaves_what_there_was(world: World) -> None:
    manifest = world.manifest()
    published = publish(world.repository, manifest)
    _damage(published.path / "faiss.index")
    _damage(world.root("faiss_index") / "faiss.index")

    with pytest.raises(InvariantViolationError):
        publish(world.repository, manifest)
    assert current_name(world.repository) == published.version
    assert (published.path / "vectors/shard-000.npy").is_file()
    assert version_names(world.repository) == [published.version] == [path.name for path in published.path.parent.iterdir()]


def test_verification_names_each_damaged_file_and_parses_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    published = publish(world.repository, world.manifest())
    _damage(published.path / "faiss.index")
    (published.path / "ids.npy").unlink()
    (published.path / "stray").write_text("x")
    monkeypatch.setattr("pipeline.release.verification.connect", None)

    found = verify_folder(published.path)

    assert not found.ok
    assert {(problem.artefact, problem.problem.split()[0]) for problem in found.problems} == {
        ("faiss_index", "faiss.index"),
        ("embeddings", "ids.npy"),
        ("manifest", "stray"),
    }
    assert set(found.findings) == {"digests_match"}


def test_verification_rereads_what_was_digested_before(world: World) -> None:
    published = publish(world.repository, world.manifest())
    assert verify_folder(published.path).ok
    path = published.path / "faiss.index"
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert verify_folder(published.path, reread=False).findings["digests_match"].passed
    assert not verify_folder(published.path).findings["digests_match"].passed


def test_verification_of_nothing_is_a_finding(tmp_path: Path) -> None:
    found = verify_folder(tmp_path / "nowhere")
    assert not found.ok and found.problems[0].artefact == "manifest"


def test_rollback_returns_to_the_version_before_and_then_further_back(world: World) -> None:
    one, two, three = _publish_all(world)

    assert rollback(world.repository).version == two == current_name(world.repository)
    back = rollback(world.repository)
    assert (back.version, back.previous, back.flipped) == (one, two, True)
    with pytest.raises(RuntimeLifecycleError, match="names no version before") as caught:
        rollback(world.repository)
    assert two in caught.value.hint or three in caught.value.hint
    assert current_name(world.repository) == one


def test_building_after_a_rollback_can_be_rolled_back(world: World) -> None:
    one, two, three = _publish_all(world)
    rollback(world.repository)
    publish(world.repository, world.manifest("three"))

    assert current_name(world.repository) == three
    assert rollback(world.repository).version == two
    assert rollback(world.repository).version == one


def test_rollback_to_a_named_version(world: World) -> None:
    one, _, three = _publish_all(world)
    assert rollback(world.repository, one).version == one == current_name(world.repository)
    assert rollback(world.repository, three).version == three
    assert not rollback(world.repository, three).flipped
    assert [flip.reason for flip in history(world.repository)][-2:] == ["rollback", "rollback"]


@pytest.mark.parametrize("name", ["v-0000000000000000", "latest", "../objects"])
def test_rollback_to_a_version_that_is_not_there(name: str, world: World) -> None:
    published = publish(world.repository, world.manifest()).version
    with pytest.raises(NotFoundError):
        rollback(world.repository, name)
    assert current_name(world.repository) == published


def test_rollback_with_nothing_to_return_to(world: World) -> None:
    with pytest.raises(NotFoundError, match="no other version"):
        rollback(world.repository)
    publish(world.repository, world.manifest())
    with pytest.raises(NotFoundError, match="no other version"):
        rollback(world.repository)


@pytest.mark.parametrize(
    ("name", "error"), [("chunks/part-000.parquet", InvariantViolationError), (MANIFEST, IndexCorruptionError)]
)
def test_rollback_to_a_damaged_version_is_refused(name: str, error: type[Exception], world: World) -> None:
    one, _, three = _publish_all(world)
    _damage(world.repository.versions / one / name)
    with pytest.raises(error):
        rollback(world.repository, one)
    assert current_name(world.repository) == three
    assert one in version_names(world.repository)


def test_rollback_goes_past_a_version_that_is_gone(world: World) -> None:
    one, two, _ = _publish_all(world)
    shutil.rmtree(world.repository.versions / two)
    assert rollback(world.repository).version == one


def test_rollback_without_a_history_uses_the_manifest(world: World) -> None:
    _, two, _ = _publish_all(world)
    (world.repository.path / "history.jsonl").unlink()
    assert rollback(world.repository).version == two


def test_rollback_out_of_a_damaged_current(world: World) -> None:
    one, *_ = _publish_all(world)
    world.repository.current.write_bytes(b"\xff")
    assert switch(world.repository, one, reason="rollback").flipped
    assert current_name(world.repository) == one


def test_a_torn_history_does_not_stop_publishing_or_rolling_back(world: World) -> None:
    one = publish(world.repository, world.manifest("one")).version
    two = publish(world.repository, world.manifest("two")).version
    path = world.repository.path / "history.jsonl"
    path.write_bytes(path.read_bytes() + b'{"version":"v-00')

    three = publish(world.repository, world.manifest("three")).version

    assert [flip.version for flip in history(world.repository)] == [one, two, three]
    assert rollback(world.repository).version == two


def test_a_reader_survives_the_repair_of_its_version(world: World) -> None:
    manifest = world.manifest()
    published = publish(world.repository, manifest)
    with open_version(world.repository) as reader:
        _damage(published.path / "faiss.index")
        publish(world.repository, manifest)
        publish(world.repository, world.manifest("two"))
        assert reader.ensure("faiss_index", "chunks") == published.path


def test_host_facts_are_not_in_the_manifest(world: World) -> None:
    published = publish(world.repository, world.manifest())
    document = msgspec.json.decode((published.path / MANIFEST).read_bytes())
    assert not {"host", "published_at", "processors", "vector_index"} & set(document)
    assert read_build_facts(published.path)["host"]["processors"] >= 1


def test_build_json_says_which_faiss_and_gpu_state_and_how_the_index_was_built(world: World) -> None:
    facts = read_build_facts(publish(world.repository, world.manifest("three")).path)["vector_index"]
    faiss = import_faiss()
    assert (facts["faiss"], facts["compile_options"]) == (faiss.__version__, faiss.get_compile_options().strip())
    assert facts["simd"] and facts["threads"] >= 1
    assert facts["gpu"] == {"devices": 0, "why_off": facts["gpu"]["why_off"]} or facts["gpu"]["devices"]
    assert facts["gpu"]["why_off"] in (None, "this FAISS has no GPU support", "there is no device")
    # State three was settled last, so what was seen is of its objects.
    assert facts["built"]["adding_seconds"] > 0 and facts["built"]["threads"] >= 1 and facts["built"]["at"] > 0
    assert facts["tuned"]["tuning_seconds"] > 0 and facts["tuned"]["latency"][0]["median_ms"] > 0
    # Of those of state one nothing was kept: that is said, and nothing made up.
    reused = read_build_facts(publish(world.repository, world.manifest("one")).path)["vector_index"]
    assert reused["built"] == reused["tuned"] == {"unknown": "of the build of this object nothing was kept"}


def test_use_gpu_that_is_off_stands_in_build_json(world: World) -> None:
    document = read_manifest(publish(world.repository, world.manifest()).path)
    off = msgspec.structs.replace(document, settings={**document.settings, "use_gpu": False})
    assert vector_index_facts(world.repository, off)["gpu"]["why_off"] == "use_gpu is off"
