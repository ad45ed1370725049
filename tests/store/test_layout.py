"""Opening stores, and names that cannot nest in each other or leave the store."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import files
from pipeline.errors import CodeIntelError, ConfigError, IndexFormatError, NotFoundError, RuntimeLifecycleError
from pipeline.store.layout import (
    FORMAT,
    STORE_FILE,
    Origin,
    Store,
    check_repository_name,
    create_store,
    is_version_name,
    not_writable,
    open_store,
    read_origin,
    repository_name_from,
    settings_of,
    write_origin,
)

REFUSED = [
    "", ".", "..", "...", "../x", "a/../b", "a..b", "/a", "a/", "a//b", "_shared", "_dagster", ".git", "a/.git", "a%2Fb", "a b",
    "a\\b", "a\nb", "a\n", "a\0", "\x1b[31m", "-rf", "é", "a" * 101, "store.json", "STORE.json", "README.md", "~", "C:", "a:b",
]  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_could_leave_the_store_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name of a repository") as caught:
        create_store(tmp_path).repository(name)
    assert "--repo" in caught.value.hint and len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["a", "a/b", "a/b/c", "A.b-c_d", "0", "a" * 100, "/".join("abcdefgh" * 6)])
def test_names_with_slashes_are_one_folder_in_the_store(name: str, tmp_path: Path) -> None:
    store = create_store(tmp_path)
    repository = store.repository(name)
    write_origin(repository, Origin(name, "/somewhere"))

    assert repository.path.parent == tmp_path and repository.path.is_dir()
    assert [found.name for found in store.repositories()] == [name]
    assert store.existing(name) == repository


def test_a_repository_never_lies_in_another(tmp_path: Path) -> None:
    store = create_store(tmp_path)
    names = ["a", "a/b", "A", "a/B", "objects", "versions", "a/objects"]
    for name in names:
        write_origin(store.repository(name), Origin(name, f"/from/{name}"))

    assert [found.name for found in store.repositories()] == sorted(names)
    assert len({found.path for found in store.repositories()}) == len(names)
    assert {found.path.parent for found in store.repositories()} == {tmp_path}
    assert read_origin(store.repository("A")).path == "/from/A" and read_origin(store.repository("a")).path == "/from/a"


@given(st.text(max_size=120))
def test_every_accepted_name_is_one_path_component(name: str) -> None:
    try:
        repository = Store(Path("/store")).repository(name)
    except ConfigError:
        return
    assert repository.path.parent == Path("/store") and repository.path.name not in (".", "..", STORE_FILE)
    assert not repository.path.name.startswith((".", "_")) and len(repository.path.name) < 255


@given(st.text(alphabet=st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_every_folder_gives_a_valid_name(folder: str) -> None:
    name = repository_name_from(Path("/") / folder)
    if name.lower() not in (STORE_FILE, "readme.md"):
        assert check_repository_name(name) == name


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("v-0123456789abcdef", True),
        *((name, False) for name in ("v-0123456789abcdef\n", "v-0123456789ABCDEF", "../v-0123456789abcdef", "v-0", "")),
    ],
)
def test_the_form_of_version_names_is_strict(name: str, is_one: bool) -> None:
    assert is_version_name(name) is is_one


def test_a_new_store_describes_itself_and_is_ignored_by_git(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "data"
    assert create_store(root) == open_store(root) == create_store(root)
    assert (root / ".gitignore").read_bytes() == b"*\n"


def test_a_store_in_a_checkout_keeps_its_readme(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("The store of this checkout.")
    create_store(tmp_path)
    assert not (tmp_path / ".gitignore").exists()
    assert (tmp_path / "README.md").read_text() == "The store of this checkout."


def test_a_folder_with_other_things_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="not empty and is not a store"):
        create_store(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_creation_that_was_killed_half_way_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"*\n")
    (tmp_path / f"{files.TEMPORARY_PREFIX}1-00").write_bytes(b"{")
    assert create_store(tmp_path).root == tmp_path


def test_two_processes_may_create_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Path.iterdir

    def other_first(self: Path) -> Any:
        files.write_json(tmp_path / STORE_FILE, {"format": FORMAT})
        (tmp_path / "a").mkdir()
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", other_first)
    assert create_store(tmp_path).root == tmp_path


@pytest.mark.parametrize("folder", ["nowhere", "file", "file/below"])
def test_a_place_without_a_store_says_how_to_build_one(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotFoundError, match="There is no index") as caught:
        open_store(tmp_path / folder)
    assert "indexctl build" in caught.value.hint and caught.value.exit_code == 3


def test_a_store_where_a_file_lies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CodeIntelError, match="file"):
        create_store(tmp_path / "file")


@pytest.mark.parametrize("extra", [b"", b', "layout": {"shards": [1, 2]}'])
def test_a_store_of_a_newer_format_is_not_touched(extra: bytes, tmp_path: Path) -> None:
    (tmp_path / STORE_FILE).write_bytes(b'{"format": %d%s}' % (FORMAT + 1, extra))
    for enter in (open_store, create_store):
        with pytest.raises(IndexFormatError, match=f"format {FORMAT + 1}; this program reads up to {FORMAT}") as caught:
            enter(tmp_path)
        assert "Update" in caught.value.hint
    assert [entry.name for entry in tmp_path.iterdir()] == [STORE_FILE]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"format": "x"}', b'{"format": null}', b'{"a": "\xff"}', b"\x00"]
)
def test_a_damaged_store_description_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / STORE_FILE).write_bytes(content)
    with pytest.raises(IndexFormatError, match=r"store\.json is not a store description"):
        open_store(tmp_path)


def test_an_unreadable_store_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CodeIntelError, match="cannot be read: Permission denied"):
        open_store(tmp_path)


def test_a_store_that_cannot_be_made_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: Any, **named: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CodeIntelError, match="is read-only"):
        create_store(tmp_path / "data")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "full"),
        (errno.EACCES, "read-only"),
        (errno.EPERM, "read-only"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "I"),
    ],
)
def test_refused_writes_have_a_message_and_a_way_out(number: int, said: str, tmp_path: Path) -> None:
    error = not_writable(tmp_path, OSError(number, os.strerror(number)))
    assert said in error.message and str(tmp_path) in error.message and error.hint


def test_a_short_write_is_taken_for_a_full_disk(tmp_path: Path) -> None:
    error = not_writable(tmp_path, OSError("12544 requested and 10208 written"))
    assert "most likely because its disk is full: 12544 requested" in error.message and "Free some space" in error.hint


def test_an_unregistered_repository_names_the_registered_ones(tmp_path: Path) -> None:
    store = create_store(tmp_path)
    with pytest.raises(NotFoundError, match="no repository `a`") as caught:
        store.existing("a")
    assert "none yet" in caught.value.hint
    write_origin(store.repository("b"), Origin("b", "/b"))
    with pytest.raises(NotFoundError) as caught:
        store.existing("a")
    assert "b" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"name": "a", "path": "\xff"}', b'{"name": 1, "path": "x"}'])
def test_a_damaged_registration_is_named(content: bytes, tmp_path: Path) -> None:
    repository = create_store(tmp_path).repository("a")
    write_origin(repository, Origin("a", "/a"))
    repository.origin_file.write_bytes(content)
    with pytest.raises(IndexFormatError, match=r"repository\.json is damaged"):
        read_origin(repository)


def test_a_registration_keeps_everything(tmp_path: Path) -> None:
    repository = create_store(tmp_path).repository("a")
    with pytest.raises(NotFoundError):
        read_origin(repository)
    origin = Origin("a", "/päth with 'quotes'", git="/g", rev="main")
    write_origin(repository, origin)
    assert read_origin(repository) == origin


def test_a_path_that_is_not_utf8_is_refused_clearly(tmp_path: Path) -> None:
    repository = create_store(tmp_path).repository("a")
    with pytest.raises(ConfigError, match="not valid UTF-8"):
        write_origin(repository, Origin("a", os.fsdecode(b"/x/\xff")))
    assert not repository.origin_file.exists()


def test_settings_of_the_store_win_over_those_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "codeintel.toml").write_text("chunk_budget = 100\ndefault_k = 3\n")
    store = create_store(tmp_path / "data")
    (tmp_path / "data" / "codeintel.toml").write_text("chunk_budget = 200\n")
    settings = settings_of(store, Origin("a", str(tmp_path / "repo")))
    assert (settings.chunks.chunk_budget, settings.search.default_k) == (200, 3)


def test_a_store_that_is_gone_is_not_one_that_cannot_be_read(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    store.root.rename(tmp_path / "away")
    with pytest.raises(NotFoundError, match="is gone"):
        store.repositories()
    store.root.write_text("a file in its place")
    with pytest.raises(RuntimeLifecycleError, match="cannot be read"):
        store.repositories()
