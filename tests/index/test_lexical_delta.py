"""The lexical index in segments: the answers of a whole one, and the same bytes, made anew or from an earlier one."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tantivy

from pipeline import tables
from pipeline.embed import words
from pipeline.errors import IndexCorruptionError
from pipeline.index import chunk_files, lexical, lexical_rows, lexical_segments
from pipeline.index.chunk_files import ROLES
from pipeline.index.lexical import FieldBoosts, LexicalReader
from pipeline.index.lexical_segments import replace_documents
from pipeline.index.lexical_stage import group_count, parts_of, segments_of
from pipeline.schemas import Chunks, Definitions, LexicalIndex
from tests.index.lexical_tables import Built, Row, build_index, digests, write_tables

PARTS = 16
WORDS = "index query filter straße HTTPServer models get_or_create render applying migrations 日本語 token_2 URLs".split()
QUERIES = (
    "filter",
    "http server models",
    "applied migration",
    "get_or_create",
    "strasse 日本語 render",
    "index query token 2 url",
)


def rows(files: int, seed: int = 1) -> list[Row]:
    """Files of some chunks each, of few words, so that many score alike."""
    drawn = random.Random(seed)
    made: list[Row] = []
    for file in range(files):
        for _ in range(drawn.randint(1, 4)):
            text = " ".join(drawn.choices(WORDS, k=drawn.randint(1, 8)))
            names = [drawn.choice(("filter", "Filtered", "render", f"only_{file}"))] if drawn.random() < 0.5 else []
            made.append((1 + drawn.getrandbits(62), f"pkg{file % 5}/file{file}.py", text, names))
    return made


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Built, list[Row]]:
    """An index of many segments."""
    root = tmp_path_factory.mktemp("many")
    made = rows(80)
    return build_index(root / "index", write_tables(root / "in", made, PARTS)), made


def _whole(folder: Path, made: Sequence[Row]) -> tantivy.Searcher:
    """All documents in one segment by one writer, words stemmed by Tantivy itself: as if nothing were known of segments."""
    folder.mkdir()
    index = tantivy.Index(lexical.schema(), path=str(folder))
    index.register_tokenizer(lexical.ANALYZER, lexical.analyzer())
    writer = index.writer(15_000_000, num_threads=1)
    for identifier, uri, content, names in made:
        document = tantivy.Document()
        document.add_integer(lexical.ID, identifier)
        texts = {"body": content, "names": " ".join(names), "path": uri, "file_name": uri.rpartition("/")[2]}
        for field, text in texts.items():
            document.add_text(field, " ".join(term for run in words.runs(text) for term in words.terms(run)))
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index.searcher()


def test_segments_give_the_scores_of_one_segment_bit_for_bit(many: tuple[Built, list[Row]], tmp_path: Path) -> None:
    built, made = many
    reader = LexicalReader(built.path)
    whole = _whole(tmp_path / "whole", made)
    assert built.facts["segments"] == group_count(PARTS) > 1 and whole.num_segments == 1
    for query in QUERIES:
        found = whole.search(reader._query(reader.terms(query), FieldBoosts()), len(made), count=False).hits
        ids = np.array(whole.fast_field_values(lexical.ID, [address for _, address in found]), np.int64)
        scores = np.array([score for score, _ in found], np.float32)
        order = np.lexsort((ids, -scores))
        hits = reader.search(query, len(made))
        assert hits.ids.tolist() == ids[order].tolist()
        assert hits.scores.tobytes() == scores[order].tobytes()


def test_ties_go_by_id_and_names_are_found_across_segments(many: tuple[Built, list[Row]]) -> None:
    built, made = many
    reader = LexicalReader(built.path)
    defining = sorted(identifier for identifier, _, _, names in made if names == ["filter"])
    near = sorted(identifier for identifier, _, _, names in made if names == ["Filtered"])
    assert reader.defining("filter", len(made)).ids.tolist() == [*defining, *near]
    for limit in (1, 3, len(defining)):
        assert reader.defining("filter", limit).ids.tolist() == defining[:limit]
    everything = reader.search("filter", len(made))
    assert (np.diff(everything.scores) <= 0).all()
    for limit in (1, 2, 5, 9, 33):
        assert reader.search("filter", limit).ids.tolist() == everything.ids[:limit].tolist()


def test_rows_of_all_segments_come_back_in_the_order_that_was_asked(many: tuple[Built, list[Row]]) -> None:
    built, made = many
    reader = LexicalReader(built.path)
    asked = [identifier for identifier, *_ in made][::-1]
    assert [(row["id"], row["uri"]) for row in reader.documents(asked)] == [(row[0], row[1]) for row in made[::-1]]
    assert reader.ids().tolist() == sorted(asked) == reader.files.ids.tolist()


def _changed(before: Sequence[Row], drawn: random.Random) -> list[Row]:
    """Some files edited, deleted, renamed or added."""
    after = list(before)
    for _ in range(drawn.randint(1, 3)):
        kind, uri = drawn.choice(("edit", "delete", "rename", "add")), drawn.choice(after)[1]
        if kind == "edit":
            after = [(row[0] + (row[1] == uri), *row[1:3], [*row[3], "edited"] if row[1] == uri else row[3]) for row in after]
        elif kind == "delete" and len({row[1] for row in after}) > 1:
            after = [row for row in after if row[1] != uri]
        elif kind == "rename":
            moved = f"v{drawn.randint(1, 3)}/{drawn.getrandbits(20)}.py"
            after = [(row[0] + 7, moved, *row[2:]) if row[1] == uri else row for row in after]
        else:
            after += rows(1, drawn.getrandbits(30))
    return after


@pytest.mark.parametrize("seed", range(6))
def test_after_any_changes_an_index_made_from_the_one_before_equals_one_made_anew(tmp_path: Path, seed: int) -> None:
    drawn = random.Random(seed)
    now, built = rows(30, seed), None
    for step in range(4):
        source = write_tables(tmp_path / f"in{step}", now, PARTS)
        anew = build_index(tmp_path / f"anew{step}", source)
        built = build_index(tmp_path / f"delta{step}", source, built.earlier if built else None)
        assert digests(built.path) == digests(anew.path)
        assert built.facts == anew.facts
        now = _changed(now, drawn)


def test_a_changed_file_costs_the_segment_of_its_group_and_links_the_others(
    many: tuple[Built, list[Row]], tmp_path: Path
) -> None:
    built, made = many
    uri = made[0][1]
    after = [(row[0], row[1], f"{row[2]} changed", row[3]) if row[1] == uri else row for row in made]
    now = build_index(tmp_path / "after", write_tables(tmp_path / "in", after, PARTS), built.earlier)
    group = next(number for number in range(group_count(PARTS)) if tables.part_of(uri, PARTS) in parts_of(number, PARTS))
    before, meta = lexical.read_meta(built.path), lexical.read_meta(now.path)
    assert [one == other for one, other in zip(before.groups, meta.groups, strict=True)].index(False) == group
    for number, (segment,) in enumerate(meta.groups):
        linked = {path.stat().st_nlink > 1 for path in (now.path / LexicalIndex.DIRECTORY).glob(f"{segment.name}.*")}
        assert linked == {number != group}


def test_a_file_that_is_replaced_by_a_new_one_elsewhere_says_so_without_being_read_again(tmp_path: Path) -> None:
    uris = [f"src/v3/file{number}.py" for number in range(4)]
    old: list[Row] = [(number + 1, uri, "text", []) for number, uri in enumerate(uris)]
    before = build_index(tmp_path / "before", write_tables(tmp_path / "in", old, PARTS))
    source = write_tables(tmp_path / "now", [*old, (9, "src/v4/other.py", "text", [])], PARTS)
    after = build_index(tmp_path / "after", source, before.earlier)
    again = build_index(tmp_path / "again", write_tables(tmp_path / "old", old, PARTS), after.earlier)
    bit = 1 << ROLES.index("superseded")
    files = [chunk_files.read(built.path / chunk_files.FILE, count) for built, count in ((before, 4), (after, 5), (again, 4))]
    told = [dict(zip(one.uris, ((one.roles & bit) != 0).tolist(), strict=True)) for one in files]
    assert told[0] == told[2] == dict.fromkeys(uris, False)
    assert told[1] == {**dict.fromkeys(uris, True), "src/v4/other.py": False}


def test_nothing_is_taken_from_tables_that_were_cut_otherwise_or_whose_digests_are_not_known(
    many: tuple[Built, list[Row]], tmp_path: Path
) -> None:
    built, made = many
    fewer = build_index(tmp_path / "fewer", write_tables(tmp_path / "in", made, PARTS // 2), built.earlier)
    unknown = replace(built.source, digests={})
    again = build_index(tmp_path / "again", unknown, built.earlier)
    assert digests(again.path) == digests(built.path)
    for found in (fewer, again):
        assert all(path.stat().st_nlink == 1 for path in (found.path / LexicalIndex.DIRECTORY).iterdir())


def test_a_lock_file_that_tantivy_puts_back_late_is_not_in_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_tables(tmp_path / "in", rows(30), PARTS)
    expected = digests(build_index(tmp_path / "expected", source).path)
    real = lexical_segments._writer

    @contextlib.contextmanager
    def late(index: tantivy.Index, folder: Path) -> Iterator[Any]:
        with real(index, folder) as writer:
            yield writer
        (folder / ".tantivy-meta.lock").touch()

    monkeypatch.setattr(lexical_segments, "_writer", late)
    made = build_index(tmp_path / "built", source)
    assert digests(made.path) == expected
    assert not list(made.path.rglob("*.lock"))


@pytest.mark.parametrize("parts", [1 << doublings for doublings in range(9)])
def test_groups_hold_every_part_once_in_order_and_are_fewer_the_more_there_are(parts: int) -> None:
    groups = group_count(parts)
    assert [part for group in range(groups) for part in parts_of(group, parts)] == list(range(parts))
    assert all(len(parts_of(group, parts)) for group in range(groups))
    assert groups <= group_count(2 * parts) <= 2 * groups and groups <= 64


@pytest.mark.parametrize("count", [1, 80])
def test_documents_are_replaced_beside_segments_that_stay(tmp_path: Path, count: int) -> None:
    made = rows(80)
    built = build_index(tmp_path / "index", write_tables(tmp_path / "in", made, 64))
    before, segments = digests(built.path), lexical.read_meta(built.path).groups
    twin = tmp_path / "twin"
    (twin / LexicalIndex.DIRECTORY).mkdir(parents=True)
    for path in [built.path / LexicalIndex.META, built.path / LexicalIndex.FILES, *(built.path / "lexical").iterdir()]:
        (twin / path.relative_to(built.path)).symlink_to(path)
    for kind in (Chunks, Definitions):
        (twin / kind.name).symlink_to(tmp_path / "in" / kind.name)
    changed = made[:count]
    among = segments_of(twin, [uri for _, uri, _, _ in changed])
    new = [lexical_rows.Row(one, "novel", "", "", "", (), b"[]") for one, _, _, _ in changed]
    replace_documents(twin / LexicalIndex.DIRECTORY, new, among)

    listed = msgspec.json.decode((twin / "lexical/meta.json").read_bytes())["segments"]
    assert sum(map(len, segments)) == 16 and len(among) == (1 if count == 1 else 16)
    # More than Tantivy leaves alone; one of which every document is replaced is gone.
    assert len(listed) == 17 if count == 1 else 12 < len(listed) <= 17
    assert digests(built.path) == before and not (twin / "lexical/alone").exists()
    with LexicalReader(twin) as reader, LexicalReader(built.path) as old:
        every = np.array([one for one, _, _, _ in made])
        assert set(reader.scores_of("novel", every.tolist())) == {one for one, _, _, _ in changed}
        assert len(reader) == len(old) == len(made)
        for stem in sorted(reader.stems(" ".join(WORDS))):
            found, was = (set(one.scores_of(stem, every.tolist())) for one in (reader, old))
            assert found == was - {one for one, _, _, _ in changed}


@pytest.mark.parametrize("suffix", [".term", ".idx", ".fast", ".store", ".fieldnorm"])
def test_a_segment_that_is_missing_is_named_as_damage(many: tuple[Built, list[Row]], tmp_path: Path, suffix: str) -> None:
    built, made = many
    copy = build_index(tmp_path / "copy", built.source)
    next((copy.path / LexicalIndex.DIRECTORY).glob(f"*{suffix}")).unlink()
    with pytest.raises(IndexCorruptionError):
        reader = LexicalReader(copy.path)
        reader.search("filter", len(made))
        reader.documents([row[0] for row in made])


def test_a_segment_that_is_not_listed_by_tantivy_is_named_as_damage(many: tuple[Built, list[Row]], tmp_path: Path) -> None:
    built, _ = many
    copy = build_index(tmp_path / "copy", built.source)
    path = copy.path / LexicalIndex.DIRECTORY / "meta.json"
    listed = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(listed | {"segments": listed["segments"][1:]}))
    with pytest.raises(IndexCorruptionError, match="instead of"):
        LexicalReader(copy.path)
