"""Vectors after a change: the same bytes as a full build, and only new texts are embedded."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.artefacts import Earlier
from pipeline.config import EmbedSettings
from pipeline.embed import arrays
from pipeline.embed.arrays import open_all, shard_count, shard_path
from pipeline.embed.stage import embeddings
from pipeline.embed.static import StaticEmbedder
from pipeline.errors import InvariantViolationError
from pipeline.files import digest_file, tree_files
from pipeline.schemas import Chunks, Embeddings
from pipeline.stage import Artefact, Facts, Output
from pipeline.workers import Runtime

PARTS = 4
Row = tuple[str, str, str]
"""uri, name, content."""
Tree = dict[int, Row]
"""By id."""
Made = tuple[Artefact[Any], Artefact[Any]]
"""The embeddings and their chunks."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "ONE_SHARD", 8)
    monkeypatch.setattr(arrays, "SHARD", 4)


def digested(artefact: Artefact[Any]) -> Artefact[Any]:
    found = {path.relative_to(artefact.path).as_posix(): digest_file(path) for path in tree_files(artefact.path)}
    return dataclasses.replace(artefact, digests=found)


def chunk_table(root: Path, rows: Tree) -> Artefact[Any]:
    for part in range(PARTS):
        own = [
            {
                "id": one, "uri": uri, "lang": "python", "kind": "function", "name": name, "start_line": 1, "end_line": 1,
                "start_byte": 0, "end_byte": 1, "preview": "", "content": content, "content_hash": 0,
            }
            for one, (uri, name, content) in sorted(rows.items())
            if tables.part_of(uri, PARTS) == part
        ]  # fmt: skip
        tables.write_part(root / Chunks.name, Chunks, part, pa.Table.from_pylist(own, schema=Chunks.schema))
    return digested(Artefact("repo", Chunks.asset, "key", root, "", "", {}))


def build(root: Path, chunks: Artefact[Any], before: Made | None = None) -> tuple[Made, Facts]:
    earlier = None if before is None else Earlier({Embeddings.asset: before[0]}, {Chunks.asset: before[1]})
    root.mkdir()
    facts = embeddings(chunks, EmbedSettings(), Runtime(earlier=earlier), Output(root))
    return (digested(Artefact("repo", Embeddings.asset, "key", root, "", "", {}, facts)), chunks), facts


def tree(seed: int, count: int = 60) -> Tree:
    rng = random.Random(seed)
    return {rng.randrange(1, 1 << 62): (f"f{at % 12}.py", f"name{at}", f"def name{at}(): pass") for at in range(count)}


def same(one: Path, other: Path) -> bool:
    left, right = ({path.relative_to(root): path.read_bytes() for path in tree_files(root)} for root in (one, other))
    return left == right


def test_after_any_history_the_vectors_are_those_of_a_full_build_byte_for_byte(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = tree(seed=0)
    known = [dict(rows)]
    before, _ = build(tmp_path / "first", chunk_table(tmp_path / "in", rows))
    for step in range(12):
        what = rng.choice(["add", "delete", "name", "revert", "many", "nothing"])
        one = rng.choice(sorted(rows))
        if what in ("add", "many"):
            rows |= {
                rng.randrange(1, 1 << 62): (f"f{at}.py", f"new{step}{at}", "x = 1") for at in range(9 if what == "many" else 1)
            }
        elif what == "delete":
            del rows[one]
        elif what == "name":
            # The definition around a chunk is renamed: its id stays, its text does not.
            rows[one] = (rows[one][0], f"renamed{step}", rows[one][2])
        elif what == "revert":
            rows = dict(rng.choice(known))
        known.append(dict(rows))
        chunks = chunk_table(tmp_path / f"in{step}", rows)
        full, wanted = build(tmp_path / f"full{step}", chunks)
        before, facts = build(tmp_path / f"delta{step}", chunks, before)
        assert same(before[0].path, full[0].path) and facts == wanted, (step, what)
        assert len(open_all(before[0].path).ids) == len(rows)


def test_only_new_texts_are_embedded_and_all_else_is_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tree(seed=0)
    before, _ = build(tmp_path / "a", chunk_table(tmp_path / "in-a", rows))
    asked: list[str] = []
    honest = StaticEmbedder.encode

    def watched(self: StaticEmbedder, texts: Sequence[str], **rest: Any) -> Any:
        asked.extend(texts)
        return honest(self, texts, **rest)

    monkeypatch.setattr(StaticEmbedder, "encode", watched)
    new = 5 << 55
    after, _ = build(tmp_path / "b", chunk_table(tmp_path / "in-b", {**rows, new: ("f3.py", "fresh", "y = 2")}), before)
    assert asked == ["f3.py\nfresh fresh\ny = 2"]
    for part in range(PARTS):
        ours, theirs = (tables.part_path(one[0].path / Embeddings.name, part) for one in (after, before))
        assert ours.samefile(theirs) == (part != tables.part_of("f3.py", PARTS))
    count = shard_count(len(rows) + 1)
    assert count == shard_count(len(rows)) > 4
    home = new >> (64 - count.bit_length())
    linked = [
        number for number in range(count) if shard_path(after[0].path, number).samefile(shard_path(before[0].path, number))
    ]
    assert linked == [number for number in range(count) if number != home]


def test_no_new_text_needs_no_embedder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tree(seed=0)
    before, _ = build(tmp_path / "a", chunk_table(tmp_path / "in-a", rows))
    monkeypatch.setattr(StaticEmbedder, "__init__", lambda self: pytest.fail("it was loaded"))
    fewer = dict(sorted(rows.items())[:-1])
    after, facts = build(tmp_path / "b", chunk_table(tmp_path / "in-b", fewer), before)
    assert facts["vectors"] == len(fewer) and np.array_equal(open_all(after[0].path).ids, sorted(fewer))


def test_an_id_that_comes_twice_is_refused_after_a_change_too(tmp_path: Path) -> None:
    rows = {7: ("f1.py", "a", "x"), 9: ("f2.py", "b", "y")}
    before, _ = build(tmp_path / "a", chunk_table(tmp_path / "in-a", rows))
    chunks = chunk_table(tmp_path / "in-b", rows)
    part = tables.part_of("f2.py", PARTS)
    path = tables.part_path(chunks.path / Chunks.name, part)
    table = tables.read_part(path, Chunks)
    twice = pa.concat_tables([table, table.set_column(0, Chunks.schema.field("id"), pa.array([7] * table.num_rows))])
    tables.write_part(chunks.path / Chunks.name, Chunks, part, twice)
    with pytest.raises(InvariantViolationError, match="7 is not unique"):
        build(tmp_path / "b", digested(chunks), before)
