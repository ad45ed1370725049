"""`indexctl sql`: what runs, what is refused, and how rows are printed."""

from __future__ import annotations

from typing import Any

import pytest


def test_json_is_one_object_a_row_with_ids_as_text(built: Any) -> None:
    rows = built("sql", "SELECT id, uri, start_line, content_hash FROM chunks ORDER BY uri, start_byte", "--json").jsons
    assert len(rows) == built("status", "--json").json["repos"][0]["chunks"]
    assert all(isinstance(row["id"], str) and isinstance(row["start_line"], int) for row in rows)
    shown = built("sql", "SELECT external_id, faiss_row FROM faiss_idmap", "--json").jsons
    assert {row["external_id"] for row in shown} == {row["id"] for row in rows}


def test_small_ids_are_text_too_and_numbers_stay_numbers(built: Any) -> None:
    [row] = built("sql", "SELECT 7 AS id, 7 AS n, sum(size) AS bytes, 1.5::DECIMAL(4,1) AS d FROM files", "--json").jsons
    assert row["id"] == "7" and row["n"] == 7 and isinstance(row["bytes"], int) and row["d"] == 1.5


def test_columns_of_one_name_are_all_printed(built: Any) -> None:
    assert built("sql", "SELECT 1 AS a, 2 AS a, 3 AS a_1", "--json").jsons == [{"a": 1, "a_1": 2, "a_1_1": 3}]
    assert built("sql", "SELECT 1 AS a, 2 AS a").out.split()[-2:] == ["1", "2"]


def test_explain_prints_a_plan(built: Any) -> None:
    done = built("sql", "EXPLAIN SELECT count(*) FROM chunks")
    assert done.code == 0 and done.out.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE chunks",
        "INSERT INTO chunks SELECT * FROM chunks",
        "COPY (SELECT 1) TO '/tmp/never-written.csv'",
        "ATTACH 'x.db'",
        "SET memory_limit = '1GB'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT 1; SELECT 2",
        "SELECT * FROM nosuch",
        "SELEKT 1",
        "",
        "   ",
        "/* nothing */",
    ],
)
def test_anything_but_one_select_is_refused_in_one_sentence(built: Any, statement: str) -> None:
    done = built("sql", statement)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1 and "Traceback" not in done.err


def test_statements_are_read_from_standard_input_over_several_lines(built: Any) -> None:
    done = built("sql", "--json", stdin=b"SELECT 1 AS x;\nSELECT\n  2 AS x;\n\nSELECT 3 AS x")
    assert done.code == 0 and [row["x"] for row in done.jsons] == [1, 2, 3]


def test_a_script_stops_at_the_first_refusal(built: Any) -> None:
    done = built("sql", "--json", stdin=b"SELECT 1 AS x;\nDROP TABLE chunks;\nSELECT 3 AS x;\n")
    assert done.code == 2 and done.jsons == [{"x": 1}]
    assert built("sql", stdin=b"").code == 0


def test_a_long_result_is_cut_for_people_and_whole_in_json(built: Any) -> None:
    query = "SELECT range AS n FROM range(1000)"
    human = built("sql", query)
    assert "200 of 1,000" in human.err and len(human.out.splitlines()) < 210
    assert len(built("sql", query, "--json").jsons) == 1000


def test_markup_and_control_characters_in_cells_are_harmless(built: Any) -> None:
    done = built("sql", "SELECT '[red]x[/red]' || chr(27) || '[2J' || chr(10) || 'y' AS v")
    assert done.code == 0 and "[red]x[/red]" in done.out and "\x1b" not in done.out
