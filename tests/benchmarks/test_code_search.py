"""What the benchmark of labelled queries does with labels, settings and two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import code_search
import labelled
import pytest
from code_search import DEFAULT, Outcome, as_json, compare, in_order, variants
from labelled import Query, languages, read_packages, read_queries
from scoring import Place, Target

from pipeline.config import SearchSettings, Settings
from pipeline.search.engine import open_searcher
from pipeline.store.layout import Store


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = [
        {"repo": "b", "query": "second", "category": "symbol", "relevant": ["b/lib/x.js"]},
        {
            "repo": "a",
            "query": "first",
            "category": "semantic",
            "relevant": [{"path": "a/y.py", "start_line": 3, "end_line": 9}, "a/z.py"],
        },
        {"repo": "unknown", "query": "nowhere", "category": "semantic", "relevant": ["n.py"]},
    ]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    packages = {
        "a": {"registry": "pypi", "package": "a", "version": "1.0", "root": "a"},
        "b": {"registry": "npm", "package": "@scope/b", "version": "2.0", "root": "package/lib"},
    }
    (tmp_path / "packages.json").write_text(json.dumps(packages))
    return tmp_path


def test_labels_are_read_with_and_without_spans(labels: Path) -> None:
    assert read_queries(labels)[1] == Query("a", "first", "semantic", (Target("a/y.py", 3, 9), Target("a/z.py")))


def test_a_package_is_required_as_its_registry_writes_it(labels: Path) -> None:
    assert [one.requirement for one in read_packages(labels)] == ["a==1.0", "@scope/b@2.0"]


def test_queries_are_asked_by_repository_and_only_of_known_packages(labels: Path) -> None:
    assert [query.text for query in in_order(read_queries(labels), labels)] == ["first", "second"]


def test_the_language_of_a_repository_is_that_of_its_targets(labels: Path) -> None:
    spoken = languages(read_queries(labels))
    assert (spoken["a"], spoken["b"]) == ("Python", "JavaScript")


def test_every_channel_that_a_version_has_can_be_alone_or_off(built: Any) -> None:
    settings = Settings(search=SearchSettings(lexical_weight=1, dense_weight=0.5))
    with open_searcher(Store(built.store).repository("demo"), settings) as searcher:
        found = variants(searcher)
    assert not any("splade" in name or "xtr" in name for name in found)
    assert found[DEFAULT].dense_weight == 0.5
    assert (found["dense alone"].lexical_weight, found["dense alone"].dense_weight) == (0, 0.5)
    assert (found["without dense"].lexical_weight, found["without dense"].dense_weight) == (1, 0)


def run(*, first: str, second: str) -> dict:
    """A run of two queries, each of which found one file."""
    queries = [Query("r", "one", "semantic", (Target("a.py"),)), Query("r", "two", "symbol", (Target("b.py"),))]
    outcome = Outcome(DEFAULT, [[Place(first, 1, 2)], [Place(second, 1, 2)]], [1.0, 2.0])
    return json.loads(json.dumps(as_json(queries, [outcome])))


def test_a_comparison_names_what_got_better_and_worse() -> None:
    said = compare(run(first="a.py", second="x.py"), run(first="x.py", second="b.py"))
    better, worse = said.partition("Worse: 1")[::2]
    assert "Better: 1" in better
    assert "0.000 -> 1.000  ranks [0] -> [1]  r: two" in better
    assert "1.000 -> 0.000  ranks [1] -> [0]  r: one" in worse


def test_a_comparison_of_equal_runs_shows_no_difference() -> None:
    same = run(first="a.py", second="x.py")
    said = compare(same, same)
    assert "Better: 0" in said
    assert "Worse: 0" in said
    assert "+0.000 (+0.000 to +0.000)" in said


def test_a_comparison_with_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(SystemExit, match="--json"):
        compare({"format": code_search.FORMAT + 1}, run(first="a.py", second="b.py"))


def test_a_tree_that_is_there_is_not_downloaded_again(labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = read_packages(labels)[0]
    (tmp_path / "trees" / "a==1.0" / "a" / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / "trees" / "a==1.0" / "a" / ".git" / "refs" / "heads" / "main").write_text("")
    monkeypatch.setattr(labelled.corpus, "download", lambda *_: pytest.fail("It was downloaded."))
    assert labelled.tree(tmp_path, package) == tmp_path / "trees" / "a==1.0" / "a"


def test_a_folder_without_labels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["code_search.py", str(tmp_path), "--work", str(tmp_path / "work")])
    with pytest.raises(SystemExit) as stopped:
        code_search.main()
    assert stopped.value.code == 2
    assert "queries.jsonl" in capsys.readouterr().err


def test_labels_that_ask_about_no_package_are_refused(
    labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (labels / "packages.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["code_search.py", str(labels), "--work", str(labels / "work")])
    with pytest.raises(SystemExit):
        code_search.main()
    assert "packages.json" in capsys.readouterr().err
