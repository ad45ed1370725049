"""Tantivy's files: a segment made alone, and an index that is a set of segments.

    meta.json           Tantivy's list of the segments, and the schema
    .managed.json       Tantivy's list of the files
    <uuid>.<suffix>     six files of each segment, named after what is in them

Tantivy weighs a word by counts over all segments of an index, so that scores do not depend on how documents are spread over
segments; a segment's own bytes depend on its documents alone. So an index can be put together from segments that were made one
by one, and two indexes can share them.

Belongs here: writing those files. Not here: which documents go into which segment (`lexical_stage`), fields (`lexical`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import tantivy

from pipeline.errors import CodeIntelError
from pipeline.files import canonical_json, digest_file, remove_busy
from pipeline.index import lexical
from pipeline.index.lexical import Segment
from pipeline.index.lexical_rows import Row

_HEAP_BYTES = 1_000_000_000
"""A bound, not a reservation: a segment is written when it is reached, so that all but huge groups have one segment."""
_LOCK_FILES = (".tantivy-writer.lock", ".tantivy-meta.lock")
_AT_ONCE = 6
"""Segments; with one more of what is added Tantivy merges none."""
_META_FILE, _MANAGED_FILE = "meta.json", ".managed.json"


def write_segments(folder: Path, rows: Iterable[Row]) -> list[Segment]:
    """A new index of these rows in `folder`: the files of its segments, and at most a lock file beside them.

    One segment; more only of more documents than memory is given for; none of none. Equal rows in equal order give equal bytes.
    """
    folder.mkdir(parents=True)
    with _writer(_new_index(folder), folder) as writer:
        for row in rows:
            writer.add_document(_document(row))
    segments = [_named_by_content(folder, UUID(one["segment_id"]), one["max_doc"]) for one in _meta(folder)["segments"]]
    for name in (_META_FILE, _MANAGED_FILE):
        (folder / name).unlink(missing_ok=True)
    known = {segment.name for segment in segments}
    # A thread of the writer may put a lock file back after its end.
    if stray := [path.name for path in folder.iterdir() if path.stem not in known and path.name not in _LOCK_FILES]:
        raise CodeIntelError(f"Tantivy left the unexpected file {stray[0]} in its index.")
    return segments


def write_lists(folder: Path, segments: Sequence[Segment], like: Path | None = None) -> None:
    """Make `folder`, which holds the files of these segments, an index of them in this order.

    All else that Tantivy lists is as in the index `like`, which the same version made; without one, as in a new index.
    """
    meta = _meta(like) if like is not None else _new_meta(folder.with_name("new"))
    listed = [{"segment_id": str(UUID(one.name)), "max_doc": one.documents, "deletes": None} for one in segments]
    (folder / _META_FILE).write_bytes(canonical_json(meta | {"segments": listed}))
    managed = sorted(path.name for path in folder.iterdir() if path.name != _MANAGED_FILE)
    (folder / _MANAGED_FILE).write_bytes(canonical_json(managed))


def _new_meta(scratch: Path) -> dict[str, Any]:
    """What Tantivy lists of a new index, made in a folder of its own: it may put a lock file back after its end."""
    scratch.mkdir()
    _new_index(scratch)
    meta = _meta(scratch)
    remove_busy(scratch)
    return meta


def files_by_segment(folder: Path) -> Mapping[str, list[Path]]:
    """The files of each segment in `folder`, by its name."""
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        if path.name not in (_META_FILE, _MANAGED_FILE, *_LOCK_FILES):
            found.setdefault(path.stem, []).append(path)
    return found


def take_segments(scratch: Path, folder: Path) -> None:
    """Move the files of all segments to `folder`, and remove `scratch`, in which Tantivy was at work."""
    for path in chain.from_iterable(files_by_segment(scratch).values()):
        path.rename(folder / path.name)
    remove_busy(scratch)


def replace_documents(folder: Path, rows: Sequence[Row], among: Collection[str]) -> None:
    """Put rows in the place of those of the same ids, which lie in the segments `among`; only for a scratch copy, its bytes are
    random.

    `folder` may hold links to an index's files: none of them is written, new ones stand beside them. Tantivy is shown a few
    segments at a time: of eight small ones it would make one, which costs what the index costs and not what the rows do.
    """
    listed = _meta(folder)["segments"]
    concerned = [one for one in listed if UUID(one["segment_id"]).hex in among]
    changed: dict[str, Any] = {}
    for start in range(0, len(concerned), _AT_ONCE):
        few = concerned[start : start + _AT_ONCE]
        found = _replaced(folder, few, rows, add=start == 0)
        changed |= {one["segment_id"]: found.pop(one["segment_id"], None) for one in few} | found
    segments = [found for one in listed if (found := changed.pop(one["segment_id"], one)) is not None]
    made = canonical_json(_meta(folder) | {"segments": [*segments, *changed.values()]})
    # Through a link, the index's own list would be written.
    (folder / _META_FILE).unlink()
    (folder / _META_FILE).write_bytes(made)


def _replaced(folder: Path, few: Sequence[Any], rows: Sequence[Row], *, add: bool) -> dict[str, Any]:
    """What Tantivy lists for a few segments once the rows are deleted in them, and added (`add`) in one more; by its id."""
    alone = folder / "alone"
    alone.mkdir()
    own = {UUID(one["segment_id"]).hex for one in few}
    for path in [path for path in folder.iterdir() if path.name.partition(".")[0] in own]:
        path.rename(alone / path.name)
    managed = sorted(path.name for path in alone.iterdir())
    (alone / _META_FILE).write_bytes(canonical_json(_meta(folder) | {"segments": few}))
    (alone / _MANAGED_FILE).write_bytes(canonical_json(managed))
    with _writer(tantivy.Index.open(str(alone)), alone) as writer:
        for row in rows:
            writer.delete_documents_by_term(lexical.ID, row.identifier)
        for row in rows if add else ():
            writer.add_document(_document(row))
    found = {one["segment_id"]: one for one in _meta(alone)["segments"]}
    take_segments(alone, folder)
    return found


def _new_index(folder: Path) -> tantivy.Index:
    with _disk_errors():
        return tantivy.Index(lexical.schema(), path=str(folder), reuse=False)


def _meta(folder: Path) -> dict[str, Any]:
    return msgspec.json.decode((folder / _META_FILE).read_bytes(), type=dict[str, Any])


@contextlib.contextmanager
def _writer(index: tantivy.Index, folder: Path) -> Iterator[Any]:
    """One writer thread over the index in `folder`, committed when the block ends well; no lock file is left then."""
    # Rows hold stems: all that is left to do is to cut at the spaces.
    index.register_tokenizer(lexical.ANALYZER, tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
    with _disk_errors():
        writer = index.writer(_HEAP_BYTES, num_threads=1)
        yield writer
        writer.commit()
        writer.wait_merging_threads()
    for name in _LOCK_FILES:
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Tantivy reports what the system says as the text of a ValueError."""
    try:
        yield
    except ValueError as error:
        number = re.search(r"os error (\d+)", str(error))
        # Of a thread that died it says no more than that.
        raise (OSError(int(number[1]), str(error)) if number else OSError(str(error))) from error


def _document(row: Row) -> tantivy.Document:
    document = tantivy.Document()
    document.add_integer(lexical.ID, row.identifier)
    for field in lexical.TEXT_FIELDS:
        document.add_text(field, getattr(row, field))
    for name in row.defines:
        document.add_text(lexical.DEFINES, name)
    document.add_bytes(lexical.ROW, row.stored)
    return document


def _named_by_content(folder: Path, drawn: UUID, documents: int) -> Segment:
    """Name a segment after its bytes instead of at random, as Tantivy does."""
    paths = sorted(folder.glob(f"{drawn.hex}.*"))
    recipe = "\n".join(f"{path.suffix} {digest_file(path)}" for path in paths)
    named = UUID(bytes=blake2b(recipe.encode(), digest_size=16).digest())
    for path in paths:
        path.rename(folder / f"{named.hex}{path.suffix}")
    return Segment(name=named.hex, documents=documents)
