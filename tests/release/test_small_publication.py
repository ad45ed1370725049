"""A publication looks at what is new; a switch looks at what looks otherwise; `verify --deep` at what follows from what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import InvariantViolationError
from pipeline.release import rederivation, verification
from pipeline.release.checks import Check
from pipeline.release.findings import Finding, Subject, by_part
from pipeline.release.publication import publish, switch
from pipeline.release.vector_checks import row_sums
from pipeline.schemas import AstNodes, Chunks, Definitions, Embeddings, Files
from pipeline.store.versions import current_name, open_version, read_manifest

World = Any


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder of a table of three parts, each of which is its own first word."""
    (tmp_path / "files").mkdir()
    for part in range(3):
        (tmp_path / f"files/part-00{part}.parquet").write_text("good")
    return tmp_path


def counting(looked: list[str]) -> Check:
    @by_part(Files)
    def looks(path: Path) -> Finding:
        """Looks."""
        looked.append(path.name)
        bad = path.read_text() != "good"
        return Finding((f"{path.name} is bad",) if bad else (), {"parts": 1})

    return Check("looks", Files.asset, "Looks.", looks)


def subject(root: Path, *digests: str) -> Subject:
    named = {f"files/part-00{part}.parquet": digest for part, digest in enumerate(digests)}
    return Subject({Files.asset: root}, {Files.asset: named} if digests else None)


def test_only_parts_with_other_bytes_are_looked_at(parts: Path) -> None:
    looked: list[str] = []
    check = counting(looked)
    assert check.run(subject(parts, "a", "b", "c")).facts == {"parts": 3}
    assert check.run(subject(parts, "a", "new", "c")).facts == {"parts": 3}
    assert looked == ["part-000.parquet", "part-001.parquet", "part-002.parquet", "part-001.parquet"]


def test_a_part_that_failed_is_looked_at_again(parts: Path) -> None:
    looked: list[str] = []
    check = counting(looked)
    (parts / "files/part-002.parquet").write_text("bad")
    for _ in range(2):
        assert check.run(subject(parts, "x", "y", "z")).problems == ("part-002.parquet is bad",)
    assert looked.count("part-002.parquet") == 2 and looked.count("part-000.parquet") == 1


def test_whoever_comes_without_digests_looks_at_everything(parts: Path) -> None:
    looked: list[str] = []
    check = counting(looked)
    check.run(subject(parts, "k", "l", "m"))
    assert check.run(subject(parts)).facts == {"parts": 3}
    assert len(looked) == 6


def test_verify_believes_nothing_that_a_publication_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done = publish(world.repository, world.manifest("one"))
    asked: list[bool] = []
    honest = verification.subject_of

    def noted(*given: Any, **named: Any) -> Subject:
        made = honest(*given, **named)
        asked.append(made.digests([Chunks.asset]) is None)
        return made

    monkeypatch.setattr(verification, "subject_of", noted)
    verification.verify_folder(done.path)
    verification.verify_folder(done.path, reread=False, recheck=False)
    assert asked == [True, False]


def test_sums_of_rows_tell_sets_apart_and_no_order() -> None:
    random = np.random.default_rng(1)
    ids, vectors = random.integers(0, 1 << 62, 40), random.standard_normal((40, 8)).astype(np.float32)
    order = random.permutation(40)
    whole = row_sums(ids, vectors)
    assert whole == row_sums(ids[order], vectors[order])
    halves = [row_sums(ids[half], vectors[half]) for half in (slice(0, 13), slice(13, 40))]
    assert [sum(pair) % (1 << 64) for pair in zip(*halves, strict=True)] == whole
    swapped = vectors.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    assert row_sums(ids, swapped) != whole
    # Changes that a plain sum of bits would not see: the highest bit of two numbers.
    twice = vectors.copy()
    twice[0, 0], twice[1, 0] = -twice[0, 0], -twice[1, 0]
    assert row_sums(ids, twice) != whole


@pytest.fixture
def two(world: World) -> tuple[World, str]:
    """Two published versions; the name of the one that is not current."""
    first = publish(world.repository, world.manifest("one"))
    publish(world.repository, world.manifest("two"))
    return world, first.version


def test_a_switch_to_a_version_that_looks_as_it_did_reads_nothing(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world, first = two
    monkeypatch.setattr(verification, "verify_folder", lambda *given, **named: pytest.fail("it was read"))
    assert switch(world.repository, first, reason="back").flipped and current_name(world.repository) == first


def test_a_version_that_looks_otherwise_is_verified_whole_and_then_known(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world, first = two
    path = world.repository.versions / first / "embedder.json"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    done = switch(world.repository, first, reason="back")
    assert done.verification is not None and done.verification.ok
    with open_version(world.repository, first) as version:
        assert version.untouched()


@pytest.mark.parametrize("how", ["changed", "extra", "missing"])
def test_a_damaged_version_is_not_switched_to(two: Any, how: str) -> None:
    world, first = two
    current, folder = current_name(world.repository), world.repository.versions / first
    if how == "changed":
        (folder / "embedder.json").write_bytes(b"{}")
    elif how == "extra":
        (folder / "stranger").write_bytes(b"?")
    else:
        (folder / "embedder.json").unlink()
    with pytest.raises(InvariantViolationError):
        switch(world.repository, first, reason="back")
    assert current_name(world.repository) == current


def test_a_switch_loads_neither_dagster_nor_what_a_verification_loads() -> None:
    heavy = {"dagster", "pyarrow", "duckdb", "faiss", "tantivy", "numpy"}
    code = f"import sys, pipeline.release.switching; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def made_again(world: World, state: str = "one") -> dict[str, rederivation.Rederived]:
    done = publish(world.repository, world.manifest(state))
    return {one.asset: one for one in rederivation.rederive(done.path, read_manifest(done.path))}


def test_what_the_stages_made_is_made_again(world: World) -> None:
    found = made_again(world)
    assert set(found) == {"ast_nodes", "definitions", "cst_nodes", "chunks", "embeddings", "lexical_index"}
    for one in found.values():
        assert one.finding.passed and not one.skipped, (one.asset, one)


def _other(column: str, value: object) -> Any:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[0] = value
        place = table.column_names.index(column)
        return table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))

    return change


@pytest.mark.parametrize(
    ("kind", "column", "value", "asset"),
    [
        (Definitions, "doc", "Words that nobody wrote.", "definitions"),
        (AstNodes, "type", "teapot", "ast_nodes"),
        (Chunks, "preview", "not what it begins with", "chunks"),
    ],
)
def test_content_that_passes_every_check_and_does_not_follow_is_named(
    world: World, kind: Any, column: str, value: object, asset: str
) -> None:
    world.rewrite(kind, _other(column, value))
    world.reseal()
    found = made_again(world)
    assert not found[asset].finding.passed and "do not follow" in found[asset].finding.problems[0]


def test_vectors_of_other_texts_are_named(world: World) -> None:
    done = publish(world.repository, world.manifest("one"))
    honest = rederivation._same_vectors
    made = {one.asset: one for one in rederivation.rederive(done.path, read_manifest(done.path))}
    assert made[Embeddings.asset].finding.passed
    other = world.states["two"]["embeddings"].path
    assert honest(other, world.states["one"]["embeddings"].path)


def test_what_other_libraries_made_is_left_out_and_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rederivation, "_why_not", lambda *given: "it was made by other versions")
    found = made_again(world)
    assert found["chunks"].skipped and found["chunks"].finding.passed and not found["lexical_index"].skipped


def test_an_artefact_of_another_input_is_named(world: World) -> None:
    done = publish(world.repository, world.manifest("one"))
    manifest = read_manifest(done.path)
    manifest.artefacts["chunks"].recipe["inputs"]["ast_nodes"] = "0" * 32
    found = [one for one in rederivation.rederive(done.path, manifest) if not one.finding.passed]
    assert [one.asset for one in found] == ["chunks"] and "another `ast_nodes`" in found[0].finding.problems[0]
