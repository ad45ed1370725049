"""Roles of files, and the file that keeps them beside the lexical index."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.index import chunk_files
from pipeline.index.chunk_files import ROLES, PartFiles
from pipeline.index.file_roles import roles_of
from pipeline.schemas import LexicalIndex


def roles(*uris: str, lang: str = "python", defining: frozenset[str] | None = None) -> list[set[str]]:
    """The roles of each; without `defining`, every file defines something."""
    found = roles_of([(uri, lang) for uri in uris], frozenset(uris) if defining is None else defining)
    return [{role for place, role in enumerate(ROLES) if bits >> place & 1} for bits in found]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("lib/jar.py", set()),
        ("tests/test_jar.py", {"test"}),
        ("lib/jar.test.ts", {"test"}),
        ("examples/jar.py", {"example"}),
        ("lib/deprecated/jar.py", {"superseded"}),
        ("third_party/jar.py", {"vendored"}),
        ("lib/_internal/jar.py", {"private"}),
        ("__init__/jar.py", set()),
        ("_jar.py", set()),
        ("lib/jar.pyi", {"stub"}),
        ("lib/jar.d.ts", {"stub"}),
        ("lib/jar_pb2.py", {"generated"}),
        ("docs/jar.py", {"docs"}),
    ],
)
def test_a_path_has_the_roles_of_its_folders_and_name(uri: str, expected: set[str]) -> None:
    assert roles(uri) == [expected]


def test_prose_is_documentation_wherever_it_lies() -> None:
    assert roles("lib/README.md", lang="markdown") == [{"docs"}]


def test_an_older_version_beside_a_newer_one_is_superseded() -> None:
    assert roles("src/v3/a.ts", "src/v4/a.ts", "src/v4/core/b.ts") == [{"superseded"}, set(), set()]


def test_a_lone_version_is_superseded_only_where_the_folder_above_holds_the_same_files() -> None:
    assert roles("api/v1/routes.py", "api/app.py") == [set(), set()]
    assert roles("pkg/v1/main.py", "pkg/v1/types.py", "pkg/main.py", "pkg/types.py")[:2] == [{"superseded"}, {"superseded"}]


def test_a_folder_above_with_nothing_but_an_entry_in_common_replaces_nothing() -> None:
    assert roles("v4/index.ts", "v4/core.ts", "index.ts", "v3/types.ts") == [set(), set(), set(), {"superseded"}]
    assert roles("v4/index.ts", "index.ts") == [set(), set()]


def test_an_entry_that_defines_nothing_reexports() -> None:
    uris = ("pkg/__init__.py", "pkg/full/__init__.py", "pkg/index.test.js", "pkg/jar.py")
    assert roles(*uris, defining=frozenset({uris[1]})) == [{"reexport"}, set(), {"test", "reexport"}, set()]
    assert roles("docs/index.md", lang="markdown", defining=frozenset()) == [{"docs"}]


def part(*files: tuple[str, int, list[int]]) -> PartFiles:
    """Files as uri, roles alone, ids of their chunks."""
    ids = [identifier for _, _, own in files for identifier in own]
    alone, counts = [bits for _, bits, _ in files], [len(own) for _, _, own in files]
    return PartFiles(
        [uri for uri, _, _ in files], np.array(alone, np.uint16), np.array(counts, np.int32), np.array(ids, np.int64)
    )


PARTS = [part(("a.py", 0, [10])), part(), part(("b.py", 1, [30, 20]), ("c.py", 0, [5]))]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / chunk_files.FILE
    chunk_files.write(path, PARTS, np.array([0, 1, 2], np.uint16))
    return path


def test_what_was_written_is_read(written: Path) -> None:
    assert chunk_files.FILE == LexicalIndex.FILES
    found = chunk_files.read(written, 4)
    assert found.uris == ["a.py", "b.py", "c.py"] and found.roles.tolist() == [0, 1, 2]
    assert found.ids.tolist() == [5, 10, 20, 30]
    assert found.of(np.array([10, 20, 30, 5, 10])).tolist() == [0, 1, 1, 2, 0]
    assert found.ordinals[np.searchsorted(found.ids, [30, 20, 10, 5])].tolist() == [0, 1, 0, 0]


def test_parts_are_read_as_they_were_given_and_give_the_same_file_again(written: Path, tmp_path: Path) -> None:
    found = chunk_files.read_parts(written)
    for one, other in zip(found, PARTS, strict=True):
        assert one.uris == other.uris
        assert [one.alone.tolist(), one.chunks.tolist(), one.ids.tolist()] == [
            other.alone.tolist(), other.chunks.tolist(), other.ids.tolist(),
        ]  # fmt: skip
    chunk_files.write(tmp_path / "again", found, np.array([0, 1, 2], np.uint16))
    assert (tmp_path / "again").read_bytes() == written.read_bytes()


def test_parts_without_chunks_make_a_file(tmp_path: Path) -> None:
    chunk_files.write(tmp_path / "none", [part(), part()], np.zeros(0, np.uint16))
    assert len(chunk_files.read(tmp_path / "none", 0).ids) == 0
    assert len(chunk_files.read_parts(tmp_path / "none")) == 2


@pytest.mark.parametrize("keep", [0, 1, 10, -1])
def test_a_truncated_file_is_damage(written: Path, keep: int) -> None:
    written.write_bytes(written.read_bytes()[:keep])
    with pytest.raises(IndexCorruptionError):
        chunk_files.read(written, 4)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({0: 99}, IndexFormatError),
        ({1: ["a.py"]}, IndexCorruptionError),
        ({2: b""}, IndexCorruptionError),
        ({3: b"x"}, IndexCorruptionError),
        ({4: np.array([1, 2, 2], "<i4").tobytes()}, IndexCorruptionError),
        ({4: np.array([1, 4, -1], "<i4").tobytes()}, IndexCorruptionError),
        ({5: np.array([1, 1], "<i4").tobytes()}, IndexCorruptionError),
        ({6: np.array([10, 30, 20, 20], "<i8").tobytes()}, IndexCorruptionError),
        ({7: np.array([3, 0, 2, 9], "<i4").tobytes()}, IndexCorruptionError),
        ({7: np.array([3, 0, 1, 2], "<i4").tobytes()}, IndexCorruptionError),
        ({7: np.array([3, 0, 2], "<i4").tobytes()}, IndexCorruptionError),
    ],
)
def test_a_file_that_does_not_fit_is_refused(written: Path, changes: dict[int, object], error: type[Exception]) -> None:
    stored = msgspec.msgpack.decode(written.read_bytes())
    chunk_files.read(written, 4)
    for place, value in changes.items():
        stored[place] = value
    written.write_bytes(msgspec.msgpack.encode(stored))
    with pytest.raises(error):
        chunk_files.read(written, 4)


def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    with pytest.raises(IndexCorruptionError):
        chunk_files.read(tmp_path / chunk_files.FILE, 0)
