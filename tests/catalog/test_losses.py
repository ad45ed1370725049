"""What was lost, read from a version or from one object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pipeline.catalog.losses import indexers, losses
from pipeline.catalog.views import connect
from pipeline.errors import IndexCorruptionError


def write(root: Path, name: str, value: object) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(value))
    return path


def entry(**fields: object) -> dict[str, object]:
    empty = {"language": "python", "tool": "t", "tool_version": "1", "status": "indexed", "files_indexed": 1, "problem": ""}
    return {**empty, "left_out": [], **fields}


def test_all_lists_of_a_version_are_one_table_and_an_object_has_its_own(tmp_path: Path) -> None:
    left_out = [{"uri": "b.py", "reason": "two"}, {"uri": "a.py", "reason": "one"}]
    write(tmp_path, "scip/scip.json", {"version": 2, "indexers": [entry(left_out=left_out), entry(language="typescript")]})
    assert losses(tmp_path).to_pylist() == [
        {"artefact": "scip_index", "uri": "a.py", "reason": "one"},
        {"artefact": "scip_index", "uri": "b.py", "reason": "two"},
    ]
    write(tmp_path, "scip_left_out.json", {"version": 1, "left_out": [{"uri": "c.py", "reason": "three"}]})
    write(tmp_path, "cst_rejected.json", {"version": 1, "rejected": [{"uri": "a.py", "reason": "four"}]})
    assert [tuple(row.values()) for row in losses(tmp_path).to_pylist()] == [
        ("cst_nodes", "a.py", "four"),
        ("scip_index", "a.py", "one"),
        ("scip_index", "b.py", "two"),
        ("scip_occurrences", "c.py", "three"),
    ]
    assert [(one.language, len(one.left_out)) for one in indexers(tmp_path)] == [("python", 2), ("typescript", 0)]


def test_a_folder_without_lists_lost_nothing(tmp_path: Path) -> None:
    assert losses(tmp_path).num_rows == 0 and indexers(tmp_path) == ()


@pytest.mark.parametrize("name", ["scip/scip.json", "scip_left_out.json", "cst_rejected.json"])
def test_a_damaged_list_is_corruption(name: str, tmp_path: Path) -> None:
    for content in (
        {},
        {"left_out": 1, "rejected": 1, "indexers": 1},
        [],
        {"left_out": [{"uri": 1}], "rejected": [{}], "indexers": [{}]},
    ):
        path = write(tmp_path, name, content)
        with pytest.raises(IndexCorruptionError, match=path.name):
            losses(tmp_path)


def test_sql_sees_them_in_every_cursor_and_hostile_names_are_data(tmp_path: Path, make_version: Callable[..., Path]) -> None:
    version = make_version(tmp_path / "v")
    uri = "a'; DROP VIEW losses; --\n.py"
    write(version, "cst_rejected.json", {"version": 1, "rejected": [{"uri": uri, "reason": "it"}]})
    with connect(version) as connection:
        assert connection.cursor().execute("SELECT * FROM losses").fetchall() == [("cst_nodes", uri, "it")]
        assert "lost_rows" not in {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
