"""Which modules are rows, which are worse, and how the heat map draws them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline.evaluation.cover.modules import tree
from pipeline.evaluation.coverage_reading import Module, Tree, at_best, percent, worst_first
from pipeline.evaluation.document import FORMAT, CoverageDocument, Share
from pipeline.evaluation.heat_map import heat_map
from pipeline.files import canonical_json
from pipeline.schemas import Coverage
from pipeline.tables import write_parquet

COUNTS = ("bytes", "indexed_bytes", "files", "indexed_files", "definitions", "chunked", "covered", "asked", "found")


def table(files: dict[str, tuple[int, int, int]], covered: dict[str, int] | None = None) -> object:
    """Files with (definitions, asked, found); each channel `lexical` found what was found."""
    of = {
        name: np.array(values, np.int64)
        for name, values in zip(("definitions", "asked", "found"), zip(*files.values(), strict=True), strict=True)
    }
    ones = np.ones(len(files), np.int64)
    inside = np.array([(covered or {}).get(uri, counts[0]) for uri, counts in files.items()], np.int64)
    counts = {
        "bytes": ones, "indexed_bytes": ones, "files": ones, "indexed_files": ones, "definitions": of["definitions"],
        "chunked": of["definitions"], "covered": inside, "asked": of["asked"], "found": of["found"],
    }  # fmt: skip
    return tree(list(files), counts, {"lexical": of["found"]})


def read(files: dict[str, tuple[int, int, int]], covered: dict[str, int] | None = None) -> Tree:
    return Tree(table(files, covered).to_pylist())  # type: ignore[attr-defined]


def top(modules: Tree) -> Module:
    found = modules.find("")
    assert found is not None
    return found


MANY = {f"src/{folder}/m{number}.py": (10 + number, 5, 5 - number % 3) for folder in "abcdef" for number in range(8)}


@pytest.mark.parametrize("most", [1, 2, 7, 25, 100])
def test_the_rows_of_a_cut_are_together_the_whole_and_not_more_than_wanted(most: int) -> None:
    modules = read(MANY)
    rows = modules.cut(top(modules), most)
    assert len(rows) <= most
    for name in COUNTS:
        assert sum(row.counts[name] for row in rows) == top(modules).counts[name]
    assert sum(row.found_by["lexical"] for row in rows) == top(modules).counts["found"]
    assert len({row.label for row in rows}) == len(rows)


def test_a_cut_goes_deeper_where_there_is_more_and_folds_what_has_little() -> None:
    files = {f"big/one/m{number}.py": (100, 1, 1) for number in range(4)} | {
        f"small/{number}.py": (1, 1, 1) for number in range(9)
    }
    modules = read(files)
    labels = {row.label for row in modules.cut(top(modules), 8)}
    assert {f"big/one/m{number}.py" for number in range(4)} <= labels
    assert "small/" in labels and not any(label.startswith("small/") and label != "small/" for label in labels)


def test_a_flat_folder_is_cut_into_its_largest_files_and_the_rest() -> None:
    modules = read({f"m{number:03}.py": (200 - number, 1, 1) for number in range(120)})
    rows = {row.label: row for row in modules.cut(top(modules), 10)}
    assert len(rows) == 10 and "m000.py" in rows and rows["…"].rest


def test_a_small_repository_is_shown_file_by_file() -> None:
    modules = read({"a.py": (1, 1, 1), "b/c.py": (2, 1, 0), "b/d.py": (1, 1, 1)})
    assert {row.label for row in modules.cut(top(modules), 25)} == {"a.py", "b/c.py", "b/d.py"}


def test_modules_of_a_depth_are_together_the_whole() -> None:
    modules = read(MANY | {"setup.py": (1, 1, 1)})
    rows = modules.at_depth(top(modules), 2)
    assert {row.label for row in rows} == {"setup.py", *(f"src/{folder}/" for folder in "abcdef")}
    below = modules.find("src/a")
    assert below is not None and len(modules.at_depth(below, 1)) == 8


@pytest.mark.parametrize("written", ["src/a", "src/a/", "./src/a", " src/a/ "])
def test_a_module_is_found_as_people_write_it(written: str) -> None:
    found = read(MANY).find(written)
    assert found is not None and found.prefix == "src/a/"
    assert read(MANY).find("src/nothing") is None and read(MANY).near("lib/m3.py")[0] == "src/a/m3.py"


def test_what_an_index_lacks_is_worse_than_what_is_not_found_and_one_miss_of_one_less_than_many_of_many() -> None:
    modules = read(
        {"lost.py": (10, 5, 5), "one.py": (1, 1, 0), "many.py": (50, 40, 8), "good.py": (50, 40, 40), "bare.py": (0, 0, 0)},
        covered={"lost.py": 9},
    )
    order = [row.label for row in worst_first(modules.at_depth(top(modules), 1))]
    assert order == ["lost.py", "many.py", "one.py", "good.py", "bare.py"]
    assert at_best(0, 1) > at_best(8, 40) and at_best(40, 40) == 1.0 and at_best(0, 0) == 1.0


def test_all_and_nothing_are_said_of_all_and_nothing_alone() -> None:
    assert [percent(*pair) for pair in ((1000, 1000), (999, 1000), (1, 1000), (0, 1000), (0, 0))] == [
        "100 %", "99 %", "1 %", "0 %", "–",
    ]  # fmt: skip


def write(folder: Path, files: dict[str, tuple[int, int, int]]) -> Path:
    rows = table(files)
    asked, found = (sum(one[place] for one in files.values()) for place in (1, 2))
    whole = Share(part=1, whole=1)
    document = CoverageDocument(
        version=FORMAT, k=10, files=whole, bytes=whole, definitions=whole, found=Share(part=found, whole=asked),
        asked=asked, skipped={"a <b> & c": 3}, missed={}, by_language={}, by_kind={},
        by_channel={"lexical": whole} if asked else {},
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / Coverage.FILE).write_bytes(canonical_json(msgspec.to_builtins(document)))
    write_parquet(folder / Coverage.MODULES, rows, Coverage.tag())  # type: ignore[arg-type]
    return folder


def drawn(folder: Path, files: dict[str, tuple[int, int, int]]) -> ET.Element:
    svg = heat_map(write(folder, files))
    assert svg is not None and svg == heat_map(folder)
    return ET.fromstring(svg)


def words(svg: ET.Element) -> list[str]:
    return [one.text or one[-1].tail or "" for one in svg.iter("{http://www.w3.org/2000/svg}text")]


def texts(svg: ET.Element) -> str:
    return " ".join(svg.itertext())


def test_the_map_has_a_row_for_each_module_with_the_number_in_each_cell(tmp_path: Path) -> None:
    said = texts(drawn(tmp_path, {"a.py": (4, 4, 1), "b.py": (4, 4, 4)}))
    assert "25 %" in said and "100 %" in said and "a.py: found: 1 of 4" in said
    assert said.index("a.py") < said.index("b.py")
    assert "lexical" in said and "dense" not in said


def test_a_map_of_many_modules_stays_a_picture(tmp_path: Path) -> None:
    svg = drawn(tmp_path, MANY)
    assert int(svg.attrib["height"]) < 700 and int(svg.attrib["width"]) < 1000


def test_a_map_where_nothing_was_asked_shows_the_structure(tmp_path: Path) -> None:
    said = texts(drawn(tmp_path, {"a.py": (4, 0, 0)}))
    assert "in indexes" in said and "lexical" not in said and "not asked" in said


def test_names_of_files_are_text_in_the_map_whatever_they_hold(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>&\x01\x1b[31m]]>.py"
    svg = drawn(tmp_path, {hostile: (9, 1, 0), "x" * 300 + ".py": (9, 1, 1)})
    assert not list(svg.iter("{http://www.w3.org/2000/svg}script")) and "\x1b" not in texts(svg)
    assert "<script>" in texts(svg)


def test_a_repository_without_files_has_no_map(tmp_path: Path) -> None:
    rows = tree([], {name: np.zeros(0, np.int64) for name in COUNTS}, {})
    write(tmp_path, {"a.py": (1, 1, 1)})
    write_parquet(tmp_path / Coverage.MODULES, rows, Coverage.tag())
    assert heat_map(tmp_path) is None
