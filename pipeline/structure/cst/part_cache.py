"""Parts of `cst_nodes` that were made before, shared by all repositories of a store.

`<shared>/cst/<recipe>/<key>/` is one part: `part.parquet`, the very file of an object (a hard link where possible), and
`part.json`, which says of which contents its rows are, in order, and why some files have none. `<recipe>` is the digest of
this format and of all versions that rows and bytes depend on; `<key>` that of the uris and contents of the part's files.

The rows of a file are a function of its content alone, so this is asked by content instead of reading the repository's previous
object, which branches, worktrees and other repositories do not share. It keeps whole parts, because an unchanged one is then
found by its name and linked without being read, and costs no disk while an object has it too.

Writers only ever add, so they need no lock. A part is trusted when its description has the digest that it states, and the table
the one that the description states; one that does not is renamed to `.bad-…`, and its files are read again. Beyond `MAX_BYTES`
or `MAX_PARTS`, the parts that were not used for longest are removed.

Belongs here: that file format. Not here: how a part is put together (`parts`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import pyarrow as pa

from pipeline import tables
from pipeline.errors import IndexCorruptionError, IndexFormatError
from pipeline.files import canonical_json, digest_file, directory_commit, fsync_file, link_or_copy, temporary_sibling
from pipeline.schemas import CstNodes
from pipeline.store.objects import sealed_digest

FORMAT = 2
FOLDER = "cst"
MAX_BYTES = 512 << 20
"""Of tables, of all recipes together; Django's is 2.5 MB."""
MAX_PARTS = 1024
"""Of all recipes together: to look for a content opens the descriptions of its recipe, 0.04 ms each."""

_TABLE, _DESCRIPTION = "part.parquet", "part.json"
_BAD_PREFIX = ".bad-"
_LITTER_SECONDS = 86_400
"""Age at which what crashed writers and damage left is removed."""
_HEX = 64
Found = TypeVar("Found")
_COLUMNS = [name for name in CstNodes.schema.names if name != "uri"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What is in a part, by its files in the order of their uris."""

    rows: list[int]
    """Of each file; 0: it was rejected, since any other has a module."""
    reasons: list[str]
    """Of the rejected ones."""
    kinds: dict[str, int]
    """Rows of each kind."""


class Place(NamedTuple):
    """Where the rows of a content are: `rows` rows of the part `key` from row `start`, or none for a `reason`."""

    key: str
    start: int
    rows: int
    reason: str | None


class _Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`part.json`. `digest` covers all the rest of it."""

    format: int
    recipe: str
    key: str
    table: str
    """Digest of `part.parquet`."""
    contents: str
    """The content hashes of the files, in hex, one after the other: a description that lacks one need not be decoded."""
    rows: list[int]
    reasons: list[str]
    kinds: dict[str, int]
    digest: str = ""


class _DamagedError(Exception):
    """A part is not what it says."""


def recipe_folder(shared: Path, uses: Mapping[str, str]) -> Path:
    """The folder of the parts that were made with these versions."""
    recipe = {"format": FORMAT, "schema": CstNodes.tag(), "uses": dict(uses)}
    return shared / FOLDER / blake2b(msgspec.json.encode(recipe, order="sorted"), digest_size=16).hexdigest()


def part_key(uris: Sequence[str], contents: Sequence[bytes]) -> str:
    """The name of the part of these files, 32 hex digits."""
    return blake2b(msgspec.json.encode([uris, contents]), digest_size=16).hexdigest()


def has(folder: Path, key: str) -> bool:
    """Whether a part is there and says that it is what it should be; its table is not looked at."""
    return _or_set_aside(_description, folder / key) is not None


def link(folder: Path, key: str, target: Path) -> Summary | None:
    """Make `target` the table of a part. None, and nothing is made, when the part is not there or cannot be trusted."""
    description = _or_set_aside(_whole, folder / key)
    if description is None:
        return None
    try:
        link_or_copy(folder / key / _TABLE, target)
    except FileNotFoundError:
        return None  # Removed by somebody who made room.
    _note_use(folder / key)
    return Summary(description.rows, description.reasons, description.kinds)


def find(folder: Path, contents: Collection[bytes]) -> dict[bytes, Place]:
    """Where the rows of each content are, for those that are known; in the parts used last, where there are several."""
    missing = {content.hex() for content in contents}
    found: dict[bytes, Place] = {}
    for path in _by_last_use(folder) if missing else ():
        if not missing:
            break
        if not _mentions(path, missing) or (description := _or_set_aside(_description, path)) is None:
            continue
        start, reasons = 0, iter(description.reasons)
        for number, rows in enumerate(description.rows):
            content = description.contents[number * _HEX : (number + 1) * _HEX]
            reason = None if rows else next(reasons)
            if content in missing:
                found[bytes.fromhex(content)] = Place(path.name, start, rows, reason)
                missing.discard(content)
            start += rows
    return found


def _mentions(path: Path, contents: Collection[str]) -> bool:
    """Whether a description may speak of one of some contents (hex), or is none, which whoever decodes it will find."""
    try:
        raw = (path / _DESCRIPTION).read_bytes()
    except OSError:
        return True
    return b'"contents"' not in raw or any(content.encode() in raw for content in contents)


def read(folder: Path, key: str) -> pa.Table | None:
    """The rows of a part without their uris, or None when it is not there or cannot be trusted."""
    table = _or_set_aside(_rows, folder / key)
    if table is not None:
        _note_use(folder / key)
    return table


def store(folder: Path, key: str, contents: Sequence[bytes], summary: Summary, table: Path) -> None:
    """Keep a part that was just written to `table`. Raises OSError where the store cannot be written."""
    # Who links it from here takes it for durable, and may be done before the object is that it was written for.
    fsync_file(table)
    with directory_commit(folder / key) as temporary:
        link_or_copy(table, temporary / _TABLE)
        description = _Description(
            format=FORMAT,
            recipe=folder.name,
            key=key,
            table=digest_file(table),
            contents=b"".join(contents).hex(),
            rows=summary.rows,
            reasons=summary.reasons,
            kinds=summary.kinds,
        )
        description = msgspec.structs.replace(description, digest=sealed_digest(description))
        (temporary / _DESCRIPTION).write_bytes(canonical_json(description))


def trim(shared: Path, keep: Collection[Path]) -> None:
    """Remove the parts that were not used for longest until the bounds hold; never those of `keep`, which are in use now."""
    parts: list[tuple[float, int, str]] = []
    now = time.time()
    for path in [path for folder in _entries(shared / FOLDER) for path in _entries(folder)]:
        with contextlib.suppress(OSError):  # Somebody else may be making room as well.
            if path.name.startswith("."):
                if now - path.lstat().st_mtime > _LITTER_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
            else:
                parts.append((_last_use(path), _size(path), str(path)))
    count, total = len(parts), sum(size for _, size, _ in parts)
    if count <= MAX_PARTS and total <= MAX_BYTES:
        return
    for _, size, name in sorted(parts):
        if count <= MAX_PARTS and total <= MAX_BYTES:
            break
        if Path(name) not in keep:
            _remove(Path(name))
            count, total = count - 1, total - size


def _size(path: Path) -> int:
    try:
        return os.stat(f"{path}/{_TABLE}").st_size  # noqa: PTH116 - hot
    except OSError:
        return 0


def _remove(path: Path) -> None:
    # Renamed first, so that nobody meets half of it and takes it for damaged.
    doomed = temporary_sibling(path)
    with contextlib.suppress(OSError):
        path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _by_last_use(folder: Path) -> list[Path]:
    """The parts of a recipe, the one used last first."""
    parts = [path for path in _entries(folder) if not path.name.startswith(".")]
    return sorted(parts, key=lambda path: (-_last_use(path), path.name))


def _last_use(path: Path) -> float:
    try:
        return os.stat(f"{path}/{_DESCRIPTION}").st_mtime  # noqa: PTH116 - hot
    except OSError:
        return 0.0


def _note_use(path: Path) -> None:
    # Of the description, never of the table: readers of an object know its files by inode, size and time.
    with contextlib.suppress(OSError):
        os.utime(path / _DESCRIPTION)


def _description(path: Path) -> _Description:
    """What a part says of itself."""
    description = msgspec.json.decode((path / _DESCRIPTION).read_bytes(), type=_Description)
    if (description.format, description.recipe, description.key) != (FORMAT, path.parent.name, path.name):
        raise _DamagedError
    if sealed_digest(description) != description.digest:
        raise _DamagedError
    if (len(description.contents), len(description.reasons)) != (
        len(description.rows) * _HEX,
        description.rows.count(0),
    ):
        raise _DamagedError
    return description


def _whole(path: Path) -> _Description:
    """What a part says of itself, when its table is the one that it speaks of."""
    description = _description(path)
    table = path / _TABLE
    if table.is_symlink() or digest_file(table) != description.table:
        raise _DamagedError
    return description


def _rows(path: Path) -> pa.Table:
    """The rows of a part, when they are those that it speaks of."""
    description = _whole(path)
    table = tables.read_part(path / _TABLE, CstNodes, _COLUMNS)
    if table.num_rows != sum(description.rows):
        raise _DamagedError
    return table


def _or_set_aside(look: Callable[[Path], Found], path: Path) -> Found | None:
    """What a look at a part finds; when the part turns out damaged or foreign, it is renamed, and there is nothing."""
    try:
        return look(path)
    except (_DamagedError, OSError, msgspec.DecodeError, IndexCorruptionError, IndexFormatError):
        # It may just not be there: never made, or removed by somebody who made room.
        if path.exists():
            with contextlib.suppress(OSError):
                path.rename(path.with_name(f"{_BAD_PREFIX}{path.name}-{secrets.token_hex(4)}"))
        return None
