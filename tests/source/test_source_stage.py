from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config import Settings, SourceSettings
from pipeline.errors import SourceError
from pipeline.files import tree_files
from pipeline.schemas import Files, Snapshot, Sources
from pipeline.source.scan import scan
from pipeline.source.stage import STAGE, source_snapshot
from pipeline.stage import Output
from pipeline.tables import part_count, part_of, parts, read_part, read_table
from pipeline.workers import Runtime

DEFAULT = SourceSettings()


def snapshot(root: Path, out: Path, **more):
    found = scan(root, settings=DEFAULT, **more)
    out.mkdir()
    return found, source_snapshot(found, Runtime(), Output(out))


@pytest.fixture
def root(tmp_path: Path, tree) -> Path:
    files: dict[str, str | bytes] = {f"d{n % 7}/f{n}.py": f"x = {n}\n" for n in range(300)}
    return tree(tmp_path / "t", files | {"é b.go": "package b\n", "logo.png": b"\0", ".gitignore": "out/\n", "out/x.py": "x"})


def test_every_row_and_every_indexed_byte_is_kept(tmp_path: Path, root: Path) -> None:
    found, facts = snapshot(root, tmp_path / "out")
    files = read_table(tmp_path / "out", Files).sort_by("uri").to_pydict()
    assert tuple(files["uri"]) == found.uri
    for name in ("lang", "size", "content_hash", "status", "reason"):
        assert tuple(files[name]) == getattr(found, name)
    sources = read_table(tmp_path / "out", Sources).to_pylist()
    assert {row["uri"]: row["content"] for row in sources} == {
        uri: (root / uri).read_bytes() for uri, status in zip(found.uri, found.status, strict=True) if status == "indexed"
    }
    assert facts == {
        "rows": 304,
        "indexed": 302,
        "bytes": sum(len(row["content"]) for row in sources),
        "languages": {"go": 1, "python": 300, "text": 1},
        "skipped": {"binary": 1, "ignored": 1},
    }
    assert json.loads(json.dumps(facts)) == facts


def test_rows_lie_in_the_part_of_their_uri_in_order(tmp_path: Path, root: Path) -> None:
    found, _ = snapshot(root, tmp_path / "out")
    count = part_count(found.status.count("indexed"))
    assert count == 4
    for kind in (Files, Sources):
        paths = parts(tmp_path / "out", kind)
        assert len(paths) == count
        for part, path in enumerate(paths):
            table = read_part(path, kind)
            uris = table["uri"].to_pylist()
            assert table.schema.equals(kind.schema)
            assert uris == sorted(uris)
            assert {part_of(uri, count) for uri in uris} == {part}


def test_equal_trees_give_equal_bytes_and_keys(tmp_path: Path, root: Path, commit) -> None:
    import pygit2

    one, _ = snapshot(root, tmp_path / "one")
    commit(pygit2.init_repository(str(root)))
    two, _ = snapshot(root, tmp_path / "two")
    first, second = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in tree_files(folder)}
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert first == second
    assert STAGE.key(Snapshot, Settings(), {}, {"scan": one}) == STAGE.key(Snapshot, Settings(), {}, {"scan": two})


def test_a_part_without_rows_is_still_written(tmp_path: Path, tree) -> None:
    in_the_first = [name for name in (f"{n}.py" for n in range(400)) if part_of(name, 2) == 0][:130]
    _, facts = snapshot(tree(tmp_path / "t", dict.fromkeys(in_the_first, "x = 1\n")), tmp_path / "out")
    assert facts["indexed"] == 130
    assert [read_part(path, Sources).num_rows for path in parts(tmp_path / "out", Sources)] == [130, 0]


@pytest.mark.parametrize("change", ["edit", "grow", "remove", "replace"])
def test_a_file_that_changes_in_between_is_refused(tmp_path: Path, root: Path, change: str) -> None:
    found = scan(root, settings=DEFAULT)
    path = root / "d1/f1.py"
    if change == "edit":
        path.write_text("x = 2\n")
    elif change == "grow":
        path.write_text("x = 1\n\n")
    else:
        path.unlink()
        if change == "replace":
            path.symlink_to("f8.py")
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match=r"`d1/f1\.py` changed while it was being read"):
        source_snapshot(found, Runtime(), Output(tmp_path / "out"))


def test_a_revision_gives_the_same_snapshot_as_its_clean_work_tree(tmp_path: Path, root: Path, commit) -> None:
    import pygit2

    (root / "out" / "x.py").unlink()
    (root / "out").rmdir()
    commit(pygit2.init_repository(str(root)))
    found, facts = snapshot(root, tmp_path / "one")
    again, same = snapshot(root, tmp_path / "two", rev="HEAD")
    assert (found.digest, facts) == (again.digest, same)
    assert [path.read_bytes() for path in tree_files(tmp_path / "one")] == [
        path.read_bytes() for path in tree_files(tmp_path / "two")
    ]
