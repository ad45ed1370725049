"""Files that an indexer or libcst cannot take: each costs itself alone, and is named with its reason wherever people look."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assets.metadata import markdown_losses
from pipeline.catalog.losses import losses
from pipeline.interfaces.losses import build_notes
from pipeline.store.layout import open_store
from pipeline.store.versions import open_version
from pipeline.structure.scip import indexers
from pipeline.structure.scip.indexers import Program

NAME, TWIN = "its path is no importable module name", "its module name `pkg.a` is that of pkg/a/__init__.py"
TREE: dict[str, tuple[bytes, str | None]] = {
    # uri: (content, why it has no precise symbols; None where it has)
    "pkg/__init__.py": (b"", None),
    "pkg/shape.py": (b"class Shape:\n    def area(self):\n        return 1\n", None),
    "pkg/migrations/0001_initial.py": (b"from pkg.shape import Shape\n\ndef forward(): return Shape()\n", NAME),
    "pkg/a/__init__.py": (b"x = 1\n", None),
    "pkg/a.py": (b"def hidden(): pass\n", TWIN),
    "my-script.py": (b"def script(): pass\n", NAME),
    "is.py": (b"def what(): pass\n", NAME),
    "web-app/src/main.py": (b"def serve(): pass\n\nserve()\n", None),
    "latin.py": (b"# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n\ndef served(): return name\n", "it is not UTF-8"),
    "bom.py": (b"\xef\xbb\xbfdef marked():\n    pass\n\nmarked()\n", None),
    "cr.py": (b"def one():\r    pass\rdef two():\r    one()\r", None),
    "crlf.py": (b"def three():\r\n    pass\r\n\r\nthree()\r\n", None),
    "empty.py": (b"", None),
    "blank.py": (b"\n\n", None),
    "broken.py": (b"def whole(): pass\n\ndef (((:\n  class\n\t\tif else ''' \n", None),
    "noend.py": (b"def unfinished():\n    return 1", None),
    "deep.py": (b"x = a" + b".b" * 40_000 + b"\n", "the indexer crashed, and it has a line of more than 10000 bytes"),
    "again.py": (b"x = 0\n" + b"x = x + 1\n" * 501, "it binds one name more than 500 times in one place"),
    "types.py": (b"y = 1\n", "the indexer stopped at it"),
    "stack.go": (b"package s\n\nfunc Push() { Push() }\n", None),
}
SKIPPED = {"utf16.py": ("def wide(): pass\n".encode("utf-16"), "undecodable")}
REJECTED = {"broken.py", "cr.py", "deep.py"}
LOST = {uri: reason for uri, (_, reason) in TREE.items() if reason}


@dataclass
class Lossy:
    """A tree with every kind of bad file, and its store."""

    repo: Path
    store: Path
    told: str
    """What the build wrote to standard error."""
    run: Callable[..., Any]

    def __call__(self, command: str, *arguments: str) -> Any:
        return self.run(command, "--data", self.store, *arguments)


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory, indexctl: Any) -> Lossy:
    root = tmp_path_factory.mktemp("lossy")
    for uri, (content, _) in {**TREE, **SKIPPED}.items():
        path = root / "bad" / uri
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    done = indexctl("build", root / "bad", "--data", root / "store", "--ephemeral")
    assert done.code == 0, done.err
    return Lossy(root / "bad", root / "store", done.err, indexctl)


def test_a_bad_file_costs_itself_alone_and_is_served_by_syntax(lossy: Lossy) -> None:
    rows = lossy("sql", "SELECT uri, provenance FROM scip_occurrences GROUP BY ALL", "--json").jsons
    provenance = {row["uri"]: row["provenance"] for row in rows}
    assert len(provenance) == len(rows), "a file has occurrences of one provenance"
    for uri, (content, reason) in TREE.items():
        expected = "syntax" if reason or uri.endswith(".go") else "scip"
        assert provenance.get(uri, expected) == expected, uri
        assert uri in provenance or b"def" not in content, uri
    for name, uri in (("forward", "pkg/migrations/0001_initial.py"), ("served", "latin.py"), ("whole", "broken.py")):
        [symbol] = lossy("symbols", name, "--json").json["symbols"]
        [place] = symbol["definitions"]
        content = TREE[uri][0]
        assert (place["uri"], content[place["start_byte"] : place["end_byte"]].decode()) == (uri, name)
    assert lossy("verify").code == 0


def test_status_and_sql_name_every_lost_file_with_its_reason(lossy: Lossy) -> None:
    [row] = lossy("status", "--json", "--losses").json["repos"]
    symbols = {loss["uri"]: loss["reason"] for loss in row["losses"] if loss["artefact"] == "scip_index"}
    assert symbols == LOST
    assert {loss["uri"] for loss in row["losses"] if loss["artefact"] == "cst_nodes"} == REJECTED
    assert lossy("sql", "SELECT * FROM losses ORDER BY ALL", "--json").jsons == row["losses"]
    assert row["symbols"]["left_out"][NAME] == 3 and sum(row["symbols"]["left_out"].values()) == len(LOST)
    assert row["cst"]["rejected"] == len(REJECTED) and row["symbols"]["precise_files"] + len(LOST) == len(TREE) - 1
    [skipped] = lossy("sql", "SELECT uri, reason FROM files WHERE status = 'skipped'", "--json").jsons
    assert (skipped["uri"], skipped["reason"]) == ("utf16.py", SKIPPED["utf16.py"][1])
    listed = lossy("status", "--losses").out
    for uri, reason in LOST.items():
        assert f"  {uri}: scip_index: {reason}\n" in listed
    human = lossy("status").out
    assert f"{NAME} (3)" in human and "3 rejected by libcst" in human and "latin.py" not in human
    assert "losses" not in lossy("status", "--json").json["repos"][0]


def test_metadata_list_lost_files_with_their_reasons(lossy: Lossy) -> None:
    [version] = (lossy.store / "bad" / "versions").iterdir()
    listed = markdown_losses(losses(version)).replace("\\_", "_")
    for uri, reason in LOST.items():
        assert f"| {uri} | {' '.join(reason.replace('`', chr(39)).split())[:50]}" in listed
    [made] = (lossy.store / "bad" / "objects" / "scip_index").iterdir()
    assert {row["uri"] for row in losses(made).to_pylist()} == set(LOST)


def test_a_build_says_once_how_many_files_were_lost(lossy: Lossy) -> None:
    precise = len(TREE) - 1
    assert f"symbols: {len(LOST)} of {precise} files by syntax only; `indexctl status --losses` lists them\n" in lossy.told
    assert f"cst: libcst rejected {len(REJECTED)} files" in lossy.told
    assert lossy.told.count("status --losses") == 2


def test_a_build_that_lost_nothing_says_nothing_of_it(built: Any) -> None:
    with open_version(open_store(built.store).existing("demo")) as version:
        assert list(build_notes(version)) == []
    # The demo has a script, and nothing here indexes it: that is in the status, and no news of every build.
    assert "left out: the indexer is not installed (1)\n" in built("status").out


def test_an_indexer_that_fails_as_a_whole_is_told_and_every_file_of_it_is_lost(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad-scip").write_text('#!/bin/sh\necho "cannot cope" >&2\nexit 3\n')
    (tmp_path / "bad-scip").chmod(0o755)
    monkeypatch.setattr(indexers, "python_program", lambda settings: Program("ty-scip", str(tmp_path / "bad-scip"), "0"))
    done = world("build", world.repo, "--ephemeral")
    assert done.code == 0
    assert "symbols: ty-scip failed for python: it gave up: cannot cope; its symbols are by syntax\n" in done.err
    assert "symbols: 4 of 4 files by syntax only" in done.err
    [row] = world("status", "--json", "--losses").json["repos"]
    assert [one["status"] for one in row["symbols"]["indexers"]] == ["failed", "absent"]
    assert row["symbols"]["left_out"] == {"the indexer failed": 4, "the indexer is not installed": 1}
    assert "ty-scip failed for python" in world("status").out


def test_files_that_change_while_they_are_indexed_are_those_of_the_snapshot(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path(sysconfig.get_path("scripts")) / "ty-scip"
    tides = world.repo / "harbour/tides.py"
    tides.write_text("def neap():\n    return 1\n\n\nneap()\n")
    (tmp_path / "slow-scip").write_text(f'#!/bin/sh\nprintf "\\n\\ndef spring(): pass\\n" > {tides}\nexec {real} "$@"\n')
    (tmp_path / "slow-scip").chmod(0o755)
    monkeypatch.setattr(indexers, "python_program", lambda settings: Program("ty-scip", str(tmp_path / "slow-scip"), "0"))
    assert world.build().code == 0
    assert tides.read_text().startswith("\n\ndef spring")
    [symbol] = world("symbols", "neap", "--json").json["symbols"]
    assert symbol["provenance"] == "scip"
    assert [place["line"] for place in (*symbol["definitions"], *symbol["references"])] == [1, 5]
    assert world("verify").code == 0 and world("status", "--json").json["repos"][0]["stale"] is True
