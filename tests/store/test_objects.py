"""Settling stages: built once, reused, and never used when damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from pipeline import files
from pipeline.config import Settings
from pipeline.errors import CodeIntelError, IndexCorruptionError, IndexFormatError, RuntimeLifecycleError
from pipeline.stage import Artefact
from pipeline.store.layout import Repository
from pipeline.store.objects import OBJECT_FILE, find, load, read_record, sealed_digest, settled
from pipeline.store.settling import settle
from pipeline.workers import Runtime


@pytest.fixture
def ran() -> list[int]:
    return []


@pytest.fixture
def runtime(ran: list[int]) -> Runtime:
    """A runtime through which the toy stages say that they ran."""
    return Runtime(progress=lambda done, total: ran.append(done))


def test_the_first_settling_builds_and_the_second_reuses(
    repository: Repository, toys: ModuleType, runtime: Runtime, ran: list[int]
) -> None:
    first = toys.settle_text(repository, "a b", runtime)
    second = toys.settle_text(repository, "a b", runtime)

    assert ran == [1]
    assert (first.reused, second.reused) == (False, True)
    assert replace(second, reused=False) == first
    assert (repository.refs / "text").read_text() == f"{first.key}\n"
    assert first.facts == {"letters": 3, "share": 0.5, "nothing": None}
    assert first.lineage == {"text": first.key}


def test_the_record_says_what_the_object_was_made_from(repository: Repository, toys: ModuleType) -> None:
    made = toys.settle_text(repository, "a b")
    words = settle(repository, toys.SPLIT, {"text": made}, Settings()).artefacts["words"]

    record = read_record(words)
    assert record.recipe == toys.SPLIT.recipe(toys.Words, Settings(), {"text": made.key}, {})
    assert record.recipe["inputs"] == {"text": made.key}
    assert record.recipe["uses"] == {"splitter": "1"}
    assert record.recipe["settings"]["ChunkSettings"]["chunk_budget"] == 1500
    assert record.lineage == {"text": made.key, "words": words.key, "lengths": record.lineage["lengths"]}
    assert record.digest == sealed_digest(record)
    assert [stored.path for stored in read_record(made).files] == ["deep/again.txt", "empty", "text.txt"]


def test_equal_keys_in_two_stores_are_byte_identical_objects(tmp_path: Path, toys: ModuleType) -> None:
    both = []
    for name in ("left", "right"):
        repository = toys.make_repository(tmp_path / name, name)
        made = toys.settle_text(repository, "a b")
        settle(repository, toys.SPLIT, {"text": made}, Settings())
        both.append(toys.contents(repository.objects))

    assert both[0] == both[1] and len(both[0]) == 8


def test_a_stage_that_raises_leaves_nothing(repository: Repository, toys: ModuleType) -> None:
    with pytest.raises(ValueError, match="broke"):
        settle(repository, toys.FAILING, {}, Settings(), externals={"given": toys.Given("x")})

    assert list(repository.objects.glob("*/*")) == []
    assert not (repository.refs / "text").exists()
    assert toys.leftovers(repository.path) == []


def test_a_stage_with_two_outputs_settles_both(
    repository: Repository, toys: ModuleType, runtime: Runtime, ran: list[int]
) -> None:
    made = toys.settle_text(repository, "some words")
    result = settle(repository, toys.SPLIT, {"text": made}, Settings(), runtime=runtime)
    again = settle(repository, toys.SPLIT, {"text": made}, Settings(), runtime=runtime)

    assert set(result.artefacts) == {"words", "lengths"} and ran == [1] and again.seconds == 0
    assert (result.artefacts["lengths"].path / "lengths.txt").read_text() == "4\n5"
    assert all(artefact.reused for artefact in again.artefacts.values())


def test_one_missing_output_of_two_is_rebuilt_and_the_other_stays(repository: Repository, toys: ModuleType) -> None:
    made = toys.settle_text(repository, "some words")
    result = settle(repository, toys.SPLIT, {"text": made}, Settings())
    kept = (result.artefacts["words"].path / "words.txt").stat().st_ino
    shutil.rmtree(result.artefacts["lengths"].path)

    again = settle(repository, toys.SPLIT, {"text": made}, Settings())

    assert {asset: artefact.reused for asset, artefact in again.artefacts.items()} == {"words": True, "lengths": False}
    assert (again.artefacts["words"].path / "words.txt").stat().st_ino == kept
    assert toys.leftovers(repository.path) == []


def test_inputs_of_different_states_are_refused(repository: Repository, toys: ModuleType) -> None:
    old, new = toys.settle_text(repository, "old"), toys.settle_text(repository, "new")
    words = settle(repository, toys.SPLIT, {"text": old}, Settings()).artefacts["words"]

    with pytest.raises(RuntimeLifecycleError, match="different states of `text`") as caught:
        settle(repository, toys.JOIN, {"words": words, "text": new}, Settings())
    assert "`join`" in caught.value.message and not (repository.refs / "joined").exists()
    assert (
        settle(repository, toys.JOIN, {"words": words, "text": old}, Settings()).artefacts["joined"].lineage["text"] == old.key
    )


def _reseal(root: Path, **changes: object) -> None:
    """Change fields of an object's record and seal it again, as other code would have written it."""
    record = msgspec.json.decode((root / OBJECT_FILE).read_bytes())
    record |= changes
    record.pop("digest")
    record["digest"] = files.digest_bytes(msgspec.json.encode(record, order="sorted"))
    (root / OBJECT_FILE).write_bytes(files.canonical_json(record))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


DAMAGES: dict[str, tuple[Callable[[Path], object], type[CodeIntelError]]] = {
    "truncated": (lambda root: os.truncate(root / "text.txt", 1), IndexCorruptionError),
    "grown": (lambda root: (root / "empty").write_bytes(b"x"), IndexCorruptionError),
    "flipped": (lambda root: _flip(root / "text.txt"), IndexCorruptionError),
    "flipped deep": (lambda root: _flip(root / "deep" / "again.txt"), IndexCorruptionError),
    "removed": (lambda root: (root / "empty").unlink(), IndexCorruptionError),
    "extra": (lambda root: (root / "deep" / "other").write_bytes(b""), IndexCorruptionError),
    "a link": (lambda root: ((root / "empty").unlink(), (root / "empty").symlink_to("/dev/null")), IndexCorruptionError),
    "a pipe": (lambda root: ((root / "empty").unlink(), os.mkfifo(root / "empty")), IndexCorruptionError),
    "a folder": (lambda root: ((root / "empty").unlink(), (root / "empty").mkdir()), IndexCorruptionError),
    "no record": (lambda root: (root / OBJECT_FILE).unlink(), IndexCorruptionError),
    "empty record": (lambda root: (root / OBJECT_FILE).write_bytes(b""), IndexCorruptionError),
    "torn record": (lambda root: os.truncate(root / OBJECT_FILE, 300), IndexCorruptionError),
    "record not UTF-8": (lambda root: (root / OBJECT_FILE).write_bytes(b'{"\xff": 1}'), IndexCorruptionError),
    "record of another shape": (lambda root: (root / OBJECT_FILE).write_bytes(b"[]"), IndexCorruptionError),
    "changed facts": (lambda root: _replace(root / OBJECT_FILE, b'"letters": 3', b'"letters": 4'), IndexCorruptionError),
    "foreign asset": (lambda root: _reseal(root, asset="other"), IndexCorruptionError),
    "foreign key": (lambda root: _reseal(root, key="0" * 32), IndexCorruptionError),
    "no files": (lambda root: _reseal(root, files=[]), IndexCorruptionError),
    "unknown field": (lambda root: _reseal(root, novelty=1), IndexCorruptionError),
    "newer format": (lambda root: _reseal(root, format=99, novelty=1), IndexFormatError),
    "other schema": (lambda root: _reseal(root, schema="text/7"), IndexFormatError),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_object_is_set_aside_and_rebuilt(
    damage: str, repository: Repository, toys: ModuleType, runtime: Runtime, ran: list[int]
) -> None:
    spoil, kind = DAMAGES[damage]
    made: Artefact[object] = toys.settle_text(repository, "a b")
    good = toys.contents(made.path)
    spoil(made.path)

    with pytest.raises(kind, match=made.key) as caught:
        settled(repository, toys.Text)
    assert "indexctl build" in caught.value.hint
    rebuilt = toys.settle_text(repository, "a b", runtime)

    assert ran == [1] and not rebuilt.reused
    assert toys.contents(rebuilt.path) == good
    assert load(repository, toys.Text, made.key).digest == made.digest
    assert toys.settle_text(repository, "a b").reused
    assert toys.leftovers(repository.path) == []


def test_finding_a_damaged_object_moves_it_out_of_the_way(repository: Repository, toys: ModuleType) -> None:
    made = toys.settle_text(repository, "a b")
    os.truncate(made.path / "text.txt", 0)

    assert find(repository, toys.Text, made.key) is None
    assert not made.path.exists()
    assert find(repository, toys.Text, made.key) is None


def test_an_object_that_is_a_file_is_set_aside(repository: Repository, toys: ModuleType) -> None:
    made = toys.settle_text(repository, "a b")
    shutil.rmtree(made.path)
    made.path.write_bytes(b"")

    assert not toys.settle_text(repository, "a b").reused


def test_an_empty_object_folder_is_filled(repository: Repository, toys: ModuleType) -> None:
    made = toys.settle_text(repository, "a b")
    shutil.rmtree(made.path)
    made.path.mkdir()

    assert (toys.settle_text(repository, "a b").path / "text.txt").read_text() == "a b"


def test_an_asset_that_was_never_materialized_says_so(repository: Repository, toys: ModuleType) -> None:
    with pytest.raises(RuntimeLifecycleError, match="`text` of `toy` was never materialized"):
        settled(repository, toys.Text)


def test_a_ref_to_a_deleted_object_is_corruption(repository: Repository, toys: ModuleType) -> None:
    made = toys.settle_text(repository, "a b")
    assert settled(repository, toys.Text).key == made.key
    shutil.rmtree(repository.objects)

    with pytest.raises(IndexCorruptionError, match="missing"):
        settled(repository, toys.Text)


def test_the_object_cache_may_be_deleted_at_any_time(repository: Repository, toys: ModuleType) -> None:
    made = toys.settle_text(repository, "a b")
    before = toys.contents(repository.objects)
    shutil.rmtree(repository.objects)

    assert toys.settle_text(repository, "a b").digest == made.digest
    assert toys.contents(repository.objects) == before
