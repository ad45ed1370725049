"""What small builds of any table share."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline import delta, tables
from pipeline.schemas import Definitions, Files
from pipeline.source.selection import INDEXED


def test_totals_are_those_of_all_parts_whichever_of_them_are_counted_again() -> None:
    parts = [
        {"rows": 3, "by_kind": {"class": 1, "method": 2}},
        {"rows": 0, "by_kind": {}},
        {"rows": 2, "by_kind": {"constant": 2}},
    ]
    whole = delta.totals({}, [], parts)
    assert whole == {"rows": 5, "by_kind": {"class": 1, "constant": 2, "method": 2}}
    assert list(whole["by_kind"]) == ["class", "constant", "method"]
    now = {"rows": 1, "by_kind": {"function": 1}}
    assert delta.totals(whole, [parts[0]], [now]) == delta.totals({}, [], [now, *parts[1:]])


def files(path: Path, *rows: tuple[str, str, bytes, str]) -> Path:
    columns = {
        "uri": [row[0] for row in rows],
        "lang": [row[1] for row in rows],
        "size": [len(row[2]) for row in rows],
        "content_hash": pa.array([row[2] * 32 for row in rows], pa.binary(32)),
        "status": [row[3] for row in rows],
        "reason": pa.array([None if row[3] == INDEXED else "binary" for row in rows], pa.string()),
    }
    tables.write_part(path, Files, 0, pa.table(columns))
    return tables.part_path(path, 0)


def test_files_are_the_same_when_content_and_language_are(tmp_path: Path) -> None:
    kept, edited, renamed, skipped = (
        ("kept.py", "python", b"1", INDEXED), ("edited.py", "python", b"2", INDEXED), ("other", "python", b"3", INDEXED),
        ("skipped.py", "python", b"4", "skipped"),
    )  # fmt: skip
    before = files(tmp_path / "before", kept, edited, renamed, skipped)
    now = files(
        tmp_path / "now", kept, ("edited.py", "python", b"5", INDEXED), ("other", "bash", b"3", INDEXED), skipped,
        ("new.py", "python", b"1", INDEXED),
    )  # fmt: skip
    assert delta.changes(now, before) == delta.Changes(frozenset({"kept.py"}), 3)


def test_indexed_is_spelled_as_where_it_is_decided() -> None:
    assert delta.INDEXED == INDEXED


def test_rows_are_woven_in_the_order_of_the_files(tmp_path: Path) -> None:
    def rows(*uris: str) -> pa.Table:
        plain = Definitions.schema.empty_table().to_pydict() | {"uri": list(uris)}
        count = len(uris)
        for field in Definitions.schema:
            if field.name != "uri":
                plain[field.name] = [
                    uris[0][:1] if pa.types.is_dictionary(field.type) or field.type == pa.string() else 1
                ] * count
        return pa.table(
            {
                field.name: pa.array(plain[field.name], field.type.value_type).dictionary_encode()
                if pa.types.is_dictionary(field.type)
                else pa.array(plain[field.name], field.type)
                for field in Definitions.schema
            },
            schema=Definitions.schema,
        )

    woven = delta.woven(["a", "b", "c", "without"], rows("a", "a", "c"), rows("b"))
    assert woven["uri"].to_pylist() == ["a", "a", "b", "c"]
    assert delta.woven([], rows("a")).num_rows == 0
