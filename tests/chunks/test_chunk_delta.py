"""Chunks after a change: the same bytes as a full build, by the work of what changed."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from pipeline.artefacts import Earlier
from pipeline.chunks import stage
from pipeline.chunks.listing import read_listing
from pipeline.chunks.stage import chunks
from pipeline.config import ChunkSettings
from pipeline.errors import IndexCorruptionError
from pipeline.files import digest_file, tree_files
from pipeline.schemas import Chunks, Files
from pipeline.source.entries import hash_of
from pipeline.source.languages import language_of
from pipeline.stage import Artefact, Facts, Output
from pipeline.tables import part_of, part_path, read_table, write_part
from pipeline.workers import Runtime
from tests.chunks.conftest import write_world

SETTINGS = ChunkSettings(chunk_budget=60)
PARTS = 4
Made = tuple[Artefact[Any], tuple[Artefact[Any], ...]]
Tree = dict[str, bytes]


def digested(artefact: Artefact[Any]) -> Artefact[Any]:
    found = {path.relative_to(artefact.path).as_posix(): digest_file(path) for path in tree_files(artefact.path)}
    return dataclasses.replace(artefact, digests=found)


def inputs(root: Path, files: Tree, parts: int = PARTS) -> tuple[Artefact[Any], ...]:
    made = write_world(root, files, parts)
    for part in range(parts):
        rows = [
            {
                "uri": uri, "lang": language_of(uri, data).name, "size": len(data), "content_hash": hash_of(data),
                "status": "indexed", "reason": "",
            }
            for uri, data in sorted(files.items())
            if part_of(uri, parts) == part
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=Files.schema)
        write_part(made[0].path / Files.name, Files, part, table)
    return tuple(map(digested, made))


def build(root: Path, given: tuple[Artefact[Any], ...], before: Made | None = None, **settings: Any) -> tuple[Made, Facts]:
    earlier = None
    if before is not None:
        earlier = Earlier({Chunks.asset: before[0]}, {one.asset: one for one in before[1]})
    root.mkdir()
    facts = chunks(*given, msgspec.structs.replace(SETTINGS, **settings), Runtime(earlier=earlier), Output(root))
    return (digested(Artefact("repo", Chunks.asset, "key", root, "", "", {}, facts)), given), facts


def function(name: str) -> bytes:
    return f"def {name}():\n    return [{', '.join([repr(name)] * 6)}]\n\n\n".encode()


def tree(count: int = 24) -> Tree:
    python = {
        f"p/{number}.py": b"".join(function(f"f{number}_{at}") for at in range(number % 5 + 1)) for number in range(count)
    }
    return {**python, "a.md": b"# One\n\ntext\n\n## Two\n\n" + b"words\n" * 40, "empty.py": b"", "b.json": b'{"a": [1, 2]}\n'}


def histories(seed: int, steps: int) -> Iterator[tuple[str, Tree]]:
    """A tree after each of some random changes."""
    rng = random.Random(seed)
    now = tree()
    known = [dict(now)]
    for step in range(steps):
        what = rng.choice(["edit", "add", "delete", "rename", "revert", "nothing"])
        uri = rng.choice(sorted(now))
        if what == "edit":
            now[uri] += function(f"new_{step}")
        elif what == "add":
            now[f"q/{step}.py"] = function(f"added_{step}") * 3
        elif what == "delete":
            del now[uri]
        elif what == "rename":
            now[f"r/{step}.{uri.rsplit('.', 1)[1]}"] = now.pop(uri)
        elif what == "revert":
            now = dict(rng.choice(known))
        known.append(dict(now))
        yield what, dict(now)


def same(one: Path, other: Path) -> bool:
    left, right = ({path.relative_to(root): path.read_bytes() for path in tree_files(root)} for root in (one, other))
    return left == right


@pytest.mark.parametrize("strategy", ["content", "span", "sequence"])
def test_after_any_history_the_chunks_are_those_of_a_full_build_byte_for_byte(tmp_path: Path, strategy: Any) -> None:
    before, _ = build(tmp_path / "first", inputs(tmp_path / "in", tree()), id_strategy=strategy)
    for step, (what, files) in enumerate(histories(seed=1, steps=12)):
        given = inputs(tmp_path / f"in{step}", files)
        full, wanted = build(tmp_path / f"full{step}", given, id_strategy=strategy)
        before, facts = build(tmp_path / f"delta{step}", given, before, id_strategy=strategy)
        assert same(before[0].path, full[0].path) and facts == wanted, (step, what)
        listing, table = read_listing(before[0].path), read_table(before[0].path, Chunks)
        assert listing.ids.tolist() == table["id"].to_pylist()


def test_only_changed_files_are_cut_and_parts_without_any_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tree()
    before, _ = build(tmp_path / "a", inputs(tmp_path / "in-a", files))
    cut: list[str] = []
    honest = stage._Rows.add_file
    monkeypatch.setattr(stage._Rows, "add_file", lambda self, uri, *rest: (cut.append(uri), honest(self, uri, *rest))[1])
    after, _ = build(tmp_path / "b", inputs(tmp_path / "in-b", {**files, "p/3.py": function("other")}), before)
    assert cut == ["p/3.py"]
    linked = [
        part
        for part in range(PARTS)
        if part_path(after[0].path / Chunks.name, part).samefile(part_path(before[0].path / Chunks.name, part))
    ]
    assert linked == [part for part in range(PARTS) if part != part_of("p/3.py", PARTS)]


def test_a_table_that_was_cut_into_other_parts_is_no_shortcut(tmp_path: Path) -> None:
    before, _ = build(tmp_path / "a", inputs(tmp_path / "in-a", tree(), parts=2))
    given = inputs(tmp_path / "in-b", tree())
    full, _ = build(tmp_path / "full", given)
    after, _ = build(tmp_path / "b", given, before)
    assert same(after[0].path, full[0].path)


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_listing_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    made, _ = build(tmp_path / "a", inputs(tmp_path / "in", tree(4)))
    path = made[0].path / Chunks.LISTING
    if content is None:
        np.save(path, np.arange(5))
    else:
        path.write_bytes(content)
    with pytest.raises(IndexCorruptionError, match=Chunks.LISTING):
        read_listing(made[0].path)
