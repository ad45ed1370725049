"""What the benchmark of docstrings asks, and what it leaves in the files that are searched."""

from __future__ import annotations

import ast
from pathlib import Path

import docstrings
import pytest
from docstrings import Query, is_test, prepared, strip

SOURCE = '''"""What this module is about, in many words."""


class Basket:
    """Holds the things that somebody
    wants to buy.

    Not thread-safe.
    """

    def total(self):
        """Add up all prices."""
        return 1

    def short(self):
        """Too short."""
'''


def test_each_docstring_of_four_words_asks_by_its_first_paragraph() -> None:
    _, queries = strip(SOURCE, "shop.py")
    assert queries == [
        Query("Holds the things that somebody wants to buy.", "shop.py", 4),
        Query("Add up all prices.", "shop.py", 11),
    ]


def test_stripped_source_parses_has_no_docstrings_and_keeps_its_lines() -> None:
    stripped, _ = strip(SOURCE, "shop.py")
    assert len(stripped.splitlines()) == len(SOURCE.splitlines())
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    assert not [node for node in ast.walk(ast.parse(stripped)) if isinstance(node, documented) and ast.get_docstring(node)]
    assert "return 1" in stripped
    assert "buy" not in stripped


@pytest.mark.parametrize("uri", ["pkg/tests/base.py", "test/a.py", "pkg/test_shop.py", "pkg/conftest.py"])
def test_tests_are_known_by_their_place_or_name(uri: str) -> None:
    assert is_test(uri)


@pytest.mark.parametrize("uri", ["pkg/testing.py", "pkg/latest.py", "contest/a.py", "pkg/test.py"])
def test_other_files_are_not_taken_for_tests(uri: str) -> None:
    assert not is_test(uri)


def test_tests_are_searched_but_ask_nothing(tmp_path: Path) -> None:
    for uri in ("shop.py", "tests/test_shop.py", "broken.py"):
        place = tmp_path / "source" / uri
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("def (" if uri == "broken.py" else SOURCE)
    tree, queries = prepared(tmp_path / "work", "shop", tmp_path / "source")
    assert {query.uri for query in queries} == {"shop.py"}
    assert sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*.py")) == ["shop.py", "tests/test_shop.py"]


def test_a_package_that_was_prepared_is_not_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "shop.py").write_text(SOURCE)
    made = prepared(tmp_path / "work", "shop==1", tmp_path / "source")
    monkeypatch.setattr(docstrings.corpus, "download", lambda *_: pytest.fail("It was downloaded."))
    assert prepared(tmp_path / "work", "shop==1") == made
