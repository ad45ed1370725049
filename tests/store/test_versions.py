"""What readers get: CURRENT, pins, digests before first use, and the history."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from pipeline import files
from pipeline.errors import IndexCorruptionError, IndexFormatError, NotFoundError
from pipeline.release import publication
from pipeline.store import digests, versions
from pipeline.store.layout import Repository
from pipeline.store.versions import MANIFEST, current_name, flip, history, open_version, read_manifest


@pytest.fixture
def name(repository: Repository, toys: ModuleType, light_checks: None) -> str:
    """The version that is published in `repository`."""
    return publication.publish(repository, toys.settle_manifest(repository, "one")).version


@pytest.fixture
def fresh() -> None:
    """A process that has digested nothing yet."""
    digests.forget()


def test_a_repository_that_was_removed_does_not_come_back_by_what_is_remembered_of_it(
    repository: Repository, name: str, fresh: None
) -> None:
    with open_version(repository) as version:
        shutil.rmtree(repository.path / "verified")
        versions.remember_digests(repository, name, {})
        assert (repository.path / "verified").is_dir()
        shutil.rmtree(repository.path)
        versions.remember_digests(repository, name, {})
        with pytest.raises(IndexCorruptionError):
            version.ensure(*version.manifest.artefacts)
    assert not repository.path.exists()


def test_without_a_publication_there_is_no_version(repository: Repository) -> None:
    assert current_name(repository) is None
    assert versions.version_names(repository) == []
    assert history(repository) == []
    with pytest.raises(NotFoundError, match="`toy` has no published index") as caught:
        open_version(repository)
    assert "indexctl build" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"\n", b"v-1", b"\xff\xfe", b"../../etc", b"v-0123456789abcdef\nv-0123456789abcdef"])
def test_a_damaged_current_is_corruption_and_is_repaired_by_publishing(
    content: bytes, repository: Repository, name: str, toys: ModuleType
) -> None:
    repository.current.write_bytes(content)

    with pytest.raises(IndexCorruptionError, match="does not name a version") as caught:
        open_version(repository)
    assert "indexctl" in caught.value.hint
    assert publication.publish(repository, toys.settle_manifest(repository, "one")).flipped
    assert current_name(repository) == name


def test_a_current_that_is_a_folder_is_corruption(repository: Repository, name: str) -> None:
    repository.current.unlink()
    repository.current.mkdir()
    with pytest.raises(IndexCorruptionError, match="cannot be read"):
        current_name(repository)


def test_a_current_that_points_nowhere_says_what_to_do(repository: Repository, name: str) -> None:
    shutil.rmtree(repository.versions)
    with pytest.raises(IndexCorruptionError, match=f"names {name}, which is not there") as caught:
        open_version(repository)
    assert "indexctl build" in caught.value.hint


@pytest.mark.parametrize("wanted", ["v-0000000000000000", "latest", "../objects", ""])
def test_a_named_version_that_is_not_there_is_not_found(wanted: str, repository: Repository, name: str) -> None:
    if wanted:
        with pytest.raises(NotFoundError) as caught:
            open_version(repository, wanted)
        assert "indexctl versions" in caught.value.hint
    else:
        assert open_version(repository, wanted).name == name


def _rewrite(path: Path, **changes: Any) -> None:
    """Change a manifest as other code would have written it: sealed."""
    document = msgspec.json.decode(path.read_bytes()) | changes
    document.pop("digest")
    document["digest"] = files.digest_bytes(msgspec.json.encode(document, order="sorted"))
    path.unlink()
    path.write_bytes(files.canonical_json(document))


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"format": 2}', b'{"\xff": 1}'])
def test_a_damaged_manifest_is_corruption(content: bytes | None, repository: Repository, name: str) -> None:
    path = repository.versions / name / MANIFEST
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(IndexCorruptionError, match=r"manifest\.json"):
        open_version(repository)


def test_every_truncation_of_a_manifest_is_noticed(repository: Repository, name: str) -> None:
    path = repository.versions / name / MANIFEST
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 23):
        path.write_bytes(whole[:length])
        with pytest.raises(IndexCorruptionError):
            read_manifest(path.parent)


def test_a_changed_manifest_breaks_its_seal(repository: Repository, name: str) -> None:
    path = repository.versions / name / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"dirty": false', b'"dirty": true'))
    with pytest.raises(IndexCorruptionError, match="not what it was"):
        open_version(repository)


def test_a_manifest_of_a_newer_format_is_told_from_a_damaged_one(repository: Repository, name: str) -> None:
    _rewrite(repository.versions / name / MANIFEST, format=99, novelty=[1])
    with pytest.raises(IndexFormatError, match="format 99") as caught:
        open_version(repository)
    assert "Update" in caught.value.hint


def test_a_manifest_of_an_older_format_is_built_again(repository: Repository, name: str) -> None:
    _rewrite(repository.versions / name / MANIFEST, format=1, evaluation=None)
    with pytest.raises(IndexFormatError, match="format 1") as caught:
        open_version(repository)
    assert "indexctl build" in caught.value.hint


def test_a_version_under_another_name_is_refused(repository: Repository, name: str) -> None:
    other = "v-0123456789abcdef"
    (repository.versions / name).rename(repository.versions / other)
    with pytest.raises(IndexCorruptionError, match=f"{other} says that it is {name}"):
        open_version(repository, other)


def _collectable(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_an_open_version_is_pinned_until_it_is_closed(repository: Repository, name: str) -> None:
    path = repository.versions / name
    with open_version(repository) as first:
        second = open_version(repository, name)
        assert not _collectable(path)
        first.close()
        first.close()
        assert not _collectable(path)
        second.close()
        assert _collectable(path)


def test_a_version_that_cannot_be_opened_is_not_left_pinned(repository: Repository, name: str) -> None:
    path = repository.versions / name
    os.truncate(path / MANIFEST, 10)
    for _ in range(3):
        with pytest.raises(IndexCorruptionError):
            open_version(repository)
    assert _collectable(path)
    assert not [fd for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}") == str(path)]


def test_a_reader_keeps_its_version_across_a_flip(repository: Repository, name: str, toys: ModuleType) -> None:
    with open_version(repository) as reader:
        newer = publication.publish(repository, toys.settle_manifest(repository, "two")).version
        assert current_name(repository) == newer != name
        assert reader.name == name
        assert (reader.ensure("text") / "text.txt").read_text() == "one"
    with open_version(repository) as reader:
        assert (reader.ensure("text") / "text.txt").read_text() == "two"


def test_a_version_collected_between_reading_current_and_pinning_is_looked_up_again(
    repository: Repository, name: str, toys: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = toys.settle_manifest(repository, "two")
    pinned = versions.pin

    def collected(path: Path) -> int:
        if path.name == name:
            publication.publish(repository, made)
            shutil.rmtree(path)
        return pinned(path)

    monkeypatch.setattr(versions, "pin", collected)
    with open_version(repository) as reader:
        assert reader.name == made.facts["version"]


SPOILS = {
    "truncated": lambda path: os.truncate(path, 1),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "flipped": lambda path: path.write_bytes(b"onf"),
    "missing": lambda path: path.unlink(),
    "replaced": lambda path: (path.unlink(), path.write_bytes(b"two")),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_damage_is_found_before_the_first_use(spoil: str, repository: Repository, name: str, fresh: None) -> None:
    SPOILS[spoil](repository.versions / name / "text.txt")
    with open_version(repository) as reader:
        with pytest.raises(IndexCorruptionError, match=r"text\.txt") as caught:
            reader.ensure("text")
        assert "rollback" in caught.value.hint
        with pytest.raises(IndexCorruptionError):
            reader.ensure("text")


def test_an_asset_that_the_version_does_not_have_is_not_found(repository: Repository, name: str) -> None:
    with open_version(repository) as reader, pytest.raises(NotFoundError, match="`faiss_index`"):
        reader.ensure("faiss_index")


def test_digests_are_remembered_for_later_processes(
    repository: Repository, name: str, fresh: None, digested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.path / "verified" / f"{name}.json").unlink()
    with open_version(repository) as reader:
        reader.ensure("text")
        reader.ensure("text")
    assert sorted(digested) == ["again.txt", "empty", "text.txt"]

    digests.forget()
    with open_version(repository) as reader:
        reader.ensure("text")
    assert len(digested) == 3


def test_publication_already_remembers_its_digests(repository: Repository, name: str, fresh: None, digested: list[str]) -> None:
    with open_version(repository) as reader:
        reader.ensure("text")
    assert digested == []


@pytest.mark.parametrize("change", ["mtime", "inode"])
def test_a_file_that_looks_otherwise_is_digested_again(
    change: str, repository: Repository, name: str, fresh: None, digested: list[str]
) -> None:
    path = repository.versions / name / "text.txt"
    if change == "mtime":
        os.utime(path, ns=(1, 1))
    else:
        status = path.stat()
        shutil.copyfile(path, path.with_name("copy"))
        path.with_name("copy").replace(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with open_version(repository) as reader:
        reader.ensure("text")
    assert digested == ["text.txt"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"text.txt": [1]}', b'{"\xff": 1}', b'{"text.txt": ["a", 2, 3]}'])
def test_a_damaged_memory_of_digests_only_costs_time(
    content: bytes, repository: Repository, name: str, fresh: None, digested: list[str]
) -> None:
    (repository.path / "verified" / f"{name}.json").write_bytes(content)
    with open_version(repository) as reader:
        reader.ensure("text")
    assert len(digested) == 3


def test_a_store_that_cannot_be_written_can_be_read(
    repository: Repository, name: str, fresh: None, digested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.path / "verified" / f"{name}.json").unlink()

    def refuse(path: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(files, "write_file", refuse)
    with open_version(repository) as reader:
        reader.ensure("text")
    assert len(digested) == 3


def test_only_version_names_count_as_versions(repository: Repository, name: str) -> None:
    for other in (".tmp-1-00", "v-1", "notes"):
        (repository.versions / other).mkdir()
    assert versions.version_names(repository) == [name]


def _noted(repository: Repository) -> list[str]:
    return [one.version for one in history(repository)]


def test_history_keeps_every_flip_in_order(repository: Repository) -> None:
    a, b = "v-" + "a" * 16, "v-" + "b" * 16
    for at, version in enumerate([a, b, a]):
        flip(repository, version, reason="build", at=float(at))
    assert [(one.version, one.previous, one.at) for one in history(repository)] == [(a, None, 0), (b, a, 1), (a, b, 2)]


def test_a_torn_line_of_history_costs_that_line_only(repository: Repository) -> None:
    a, b = "v-" + "a" * 16, "v-" + "b" * 16
    flip(repository, a, reason="build", at=0)
    path = repository.path / "history.jsonl"
    path.write_bytes(path.read_bytes() + b'{"version":"v-')
    assert _noted(repository) == [a]

    flip(repository, b, reason="build", at=1)
    assert _noted(repository) == [a, b]


def test_a_flip_that_did_not_happen_is_no_history(repository: Repository) -> None:
    a, b, c = ("v-" + letter * 16 for letter in "abc")
    flip(repository, a, reason="build", at=0)
    flip(repository, b, reason="build", at=1)
    with (repository.path / "history.jsonl").open("a") as file:
        file.write(json.dumps({"version": a, "previous": b, "reason": "rollback", "at": 2}) + "\n")
    assert _noted(repository) == [a, b]

    flip(repository, c, reason="build", at=3)
    assert _noted(repository) == [a, b, c]


def test_lines_that_are_no_flips_are_left_out(repository: Repository) -> None:
    flip(repository, "v-" + "a" * 16, reason="build", at=0)
    path = repository.path / "history.jsonl"
    path.write_bytes(b'\n[]\n{"version": 1}\n\xff\n{"\xff": 1}\n' + path.read_bytes())
    assert _noted(repository) == ["v-" + "a" * 16]


def test_build_facts_are_never_missed(repository: Repository, name: str) -> None:
    facts = repository.versions / name / versions.BUILD
    assert versions.read_build_facts(repository.versions / name)["published_at"] > 0
    for content in (b"", b"[]", b'{"\xff": 1}'):
        facts.write_bytes(content)
        assert versions.read_build_facts(repository.versions / name) == {}
    assert [found for found, _ in versions.newest_first(repository, [name])] == [name]
