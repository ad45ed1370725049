"""Seeing what became of a tree without walking it: one `lstat` a folder and a file that the last scan saw, and no rules.

A *record* keeps what a scan saw: the stamp of every file and every folder, the names in them, and which of the files differ
from those that were indexed. Where only bytes of known files changed, or files are gone, a look at the stamps tells it all.
Whatever else is not as it was (a new name, an ignore file, git's index) calls for a scan, which makes a new record.

Belongs here: the record, its format, and looking. Not here: what is told of it (`freshness`), or what is indexed (`scan`).
"""

from __future__ import annotations

import contextlib
import os
import stat
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from pipeline.config import SourceSettings
from pipeline.files import digest_bytes, new_hash, write_file
from pipeline.source.entries import hash_of
from pipeline.source.ignoring import GIT_FILE, OWN_FILE
from pipeline.source.memory import RACY_NS
from pipeline.source.scan import Scan, Witness
from pipeline.source.selection import IGNORED, RULES_VERSION, SYMLINK
from pipeline.source.worktree import METADATA_FOLDERS

FORMAT = 1
_HASH_BYTES = 32
_BLOCK = 1 << 20
_MASK = (1 << 63) - 1
"""Some file systems have inodes of 64 bits; stamps are signed, because times may lie before 1970."""
_FILE_WORDS, _FOLDER_WORDS = 4, 2
_UNKNOWN, _GONE = (0, 0, 0, 0), (-1, -1, -1, -1)
"""The stamps of what was too young to be trusted, and of what is not there. Nothing has one of them."""
_NO_NEWS = frozenset(os.fsencode(name) + b"/" for name in METADATA_FOLDERS - {".git"})
_RULES = frozenset({os.fsencode(GIT_FILE), os.fsencode(OWN_FILE)})
NOTHING = b""
"""In place of a hash: there is no such file."""


Opaque = tuple[bytes, int, int, int]
"""A path with the inode, mtime and ctime that it has."""


class Around(msgspec.Struct, array_like=True, frozen=True):
    """What decides from outside of a tree: git's index, and ignore files with their digests (empty: there is none)."""

    index: Opaque | None = None
    rules: tuple[tuple[bytes, str], ...] = ()

    @staticmethod
    def of(index: str | None, rules: Iterable[str]) -> Around:
        """As they are now."""
        paths = [os.fsencode(path) for path in rules]
        return Around(opaque(b"/", os.fsencode(index)) if index else None, tuple((path, _digest(path)) for path in paths))


class Record(msgspec.Struct, array_like=True, frozen=True):
    """What a scan saw. Paths are bytes below `root`, joined by null bytes; stamps are native signed 64-bit words."""

    format: int
    rules: str
    settings: SourceSettings
    root: bytes
    around: Around
    """What decides from outside."""
    own_rules: list[tuple[bytes, str]]
    """Ignore files of the tree that have no row of their own: path, digest."""
    folders: bytes
    folder_stamps: bytes
    """Inode and mtime of each."""
    files: bytes
    stamps: bytes
    """Inode, size, mtime and ctime of each."""
    hashes: bytes
    links: list[int]
    """Which of the files are symbolic links."""
    uris: dict[int, str]
    """Of files whose uri is not their path."""
    opaque: list[Opaque]
    """What has a row and no bytes (submodules, FIFOs, what cannot be read): path, inode, mtime and ctime."""
    ignored: bytes
    """Names that have no row, folders with a slash behind them."""
    base: str
    """The digest of the scan that was indexed."""
    differs: dict[str, bytes]
    """Files that were not as they had been indexed, with the hash that was indexed, or `NOTHING`."""
    otherwise: bool
    """Whether the scan had another digest than `base` and all the same bytes: rules or settings are others."""

    @property
    def entries(self) -> int:
        """How many files and folders a look touches."""
        return len(self.stamps) // (8 * _FILE_WORDS) + len(self.folder_stamps) // (8 * _FOLDER_WORDS)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look saw: `differs` as in `Record`, unless `moved` says why only a scan can tell."""

    differs: Mapping[str, bytes]
    moved: str = ""
    files: Mapping[int, tuple[Sequence[int], bytes]] = field(default_factory=dict)
    """Rows of files that had another stamp than in the record, with the stamp and the hash that they have."""
    folders: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Rows of folders that had another stamp and hold no new names, with the stamp."""


def read_record(path: Path | None, root: Path, settings: SourceSettings) -> Record | None:
    """The record of this tree under these settings; None where there is none that can be trusted."""
    if path is None:
        return None
    try:
        raw = path.read_bytes()
        if hash_of(raw[_HASH_BYTES:]) != raw[:_HASH_BYTES]:
            return None
        record = msgspec.msgpack.decode(memoryview(raw)[_HASH_BYTES:], type=Record)
    except (OSError, msgspec.DecodeError):
        return None
    same = (record.format, record.rules, record.settings, record.root) == (FORMAT, RULES_VERSION, settings, os.fsencode(root))
    return record if same else None


def write_record(path: Path, record: Record) -> None:
    """Keep a record. One that cannot be written does no harm: only time depends on it."""
    payload = msgspec.msgpack.encode(record)
    with contextlib.suppress(OSError):
        write_file(path, hash_of(payload) + payload)


def opaque(root: bytes, path: bytes) -> Opaque:
    """A path (absolute, or below `root`) with its inode, mtime and ctime."""
    try:
        facts = os.lstat(os.path.join(root, path))  # noqa: PTH118 - bytes, in a hot module
    except OSError:
        return (path, 0, 0, 0)
    return path, facts.st_ino & _MASK, facts.st_mtime_ns, facts.st_ctime_ns


def record_of(
    scan: Scan, witness: Witness, settings: SourceSettings, around: Around, base: str, skip: Path | None = None
) -> Record:
    """What a scan of a folder saw, `around` and the folder `skip` being what it was given; nothing differs from `base` yet."""
    assert scan.root is not None  # revisions have no stamps
    root = os.fsencode(scan.root)
    start = len(root.rstrip(b"/")) + 1
    young = witness.began - RACY_NS
    files: list[bytes] = []
    stamps, hashes = array("q"), bytearray()
    links, uris, ignored, rigid = [], {}, [], []
    columns = zip(scan.uri, scan.places, scan.reason, scan.content_hash, witness.stamps, strict=True)
    for uri, place, reason, content_hash, stamp in columns:
        path = os.fsencode(place)[start:]
        if content_hash is None and reason == IGNORED:
            ignored.append(path + b"/" if uri.endswith("/") else path)
        elif content_hash is None:
            rigid.append(opaque(root, path))
        else:
            if reason == SYMLINK:
                links.append(len(files))
            if uri.encode() != path:
                uris[len(files)] = uri
            files.append(path)
            stamps.extend((stamp[0] & _MASK, *stamp[1:]) if stamp[2] < young else _UNKNOWN)
            hashes += content_hash
    folders = [
        (os.fsencode(path)[start:], inode & _MASK, mtime if mtime < young else 0) for path, inode, mtime in witness.folders
    ]
    if skip is not None and skip.resolve().is_relative_to(scan.root):
        ignored.append(os.fsencode(skip.resolve())[start:] + b"/")
    # An ignore file may ignore itself; it decides all the same.
    own = [(path, _digest(path)) for path in (root + b"/" + name for name in ignored) if path.rpartition(b"/")[2] in _RULES]
    return Record(
        FORMAT, RULES_VERSION, settings, root, around, own,
        b"\0".join(folder[0] for folder in folders), array("q", (word for folder in folders for word in folder[1:])).tobytes(),
        b"\0".join(files), stamps.tobytes(), bytes(hashes), links, uris,
        [seen if max(seen[2:]) < young else (seen[0], *_GONE[1:]) for seen in rigid], b"\0".join(ignored), base, {}, False,
    )  # fmt: skip


def _digest(path: str | bytes) -> str:
    try:
        return digest_bytes(Path(os.fsdecode(path)).read_bytes())
    except OSError:
        return ""


def hashes_of(record: Record) -> Iterator[tuple[str, bytes]]:
    """Uri and hash of every file as it was *indexed*."""
    indexed = {uri: content for uri, content in record.differs.items() if content != NOTHING}
    for row, path in enumerate(_paths(record.files)):
        uri = _uri(record, row, path)
        if uri not in record.differs:
            yield uri, record.hashes[row * _HASH_BYTES : (row + 1) * _HASH_BYTES]
    yield from indexed.items()


def _uri(record: Record, row: int, path: bytes) -> str:
    return record.uris.get(row) or path.decode()


def _paths(joined: bytes) -> list[bytes]:
    return joined.split(b"\0") if joined else []


def look(record: Record, around: Around) -> Sight:
    """What is not as it was indexed, `around` being what decides from outside now."""
    if around != record.around or any(_digest(path) != digest for path, digest in record.own_rules):
        return Sight({}, moved="an ignore file or git's index changed")
    if any(opaque(record.root, seen[0]) != seen for seen in record.opaque):
        return Sight({}, moved="something without bytes changed")
    folders = _paths(record.folders) or [b""]
    moved = _moved_folders(record, folders)
    if moved and _has_new_names(record, folders, {folders[row] for row in moved}):
        return Sight({}, moved="there are new names")
    return replace(_compare(record, _paths(record.files)), folders=moved)


def _moved_folders(record: Record, folders: Sequence[bytes]) -> dict[int, tuple[int, int]]:
    """Folders that may hold other names than before, with their stamps. Those that are gone have lost their files, which
    says enough."""
    stamps = array("q", record.folder_stamps)
    top, moved = record.root + b"/", {}
    for row, path in enumerate(folders):
        try:
            facts = os.lstat(top + path)
        except OSError:
            continue
        if facts.st_mtime_ns != stamps[2 * row + 1] or facts.st_ino & _MASK != stamps[2 * row]:
            moved[row] = (facts.st_ino & _MASK, facts.st_mtime_ns)
    return moved


def _has_new_names(record: Record, folders: Sequence[bytes], moved: set[bytes]) -> bool:
    known: dict[bytes, set[bytes]] = {path: set() for path in moved}
    rigid = (name for path, *_ in record.opaque for name in (path, path + b"/"))
    named = ((path + b"/" for path in folders if path), _paths(record.files), _paths(record.ignored), rigid)
    for paths in named:
        for path in paths:
            above, _, name = path.rstrip(b"/").rpartition(b"/")
            if above in known:
                known[above].add(name + b"/" if path.endswith(b"/") else name)
    for path, names in known.items():
        try:
            with os.scandir(record.root + b"/" + path) as found:
                now = {child.name + b"/" if child.is_dir(follow_symlinks=False) else child.name for child in found}
        except OSError:
            return True
        # Git's own folder is no news at the top; elsewhere it makes a repository inside of the repository.
        new = now - names - (_NO_NEWS if path else _NO_NEWS | {b".git/", b".git"})
        if new or names - now & {*_RULES}:
            return True
    return False


def _compare(record: Record, files: Sequence[bytes]) -> Sight:
    """Look at every file; read those with another stamp."""
    stamps, top = array("q"), record.root + b"/"
    for path in files:
        try:
            facts = os.lstat(top + path)
        except OSError:
            stamps.extend(_GONE)
            continue
        stamps.extend((facts.st_ino & _MASK, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    differs, other = dict(record.differs), {}
    links = frozenset(record.links)
    for row in _unequal(stamps.tobytes(), record.stamps):
        path, stamp = files[row], tuple(stamps[row * _FILE_WORDS : (row + 1) * _FILE_WORDS])
        before = record.hashes[row * _HASH_BYTES : (row + 1) * _HASH_BYTES]
        try:
            now = NOTHING if stamp == _GONE else _hash(top + path, link=row in links)
        except OSError:
            return Sight({}, moved="a file is no longer what it was")
        if now != before and path.rpartition(b"/")[2] in _RULES:
            return Sight({}, moved="an ignore file changed")
        uri = _uri(record, row, path)
        if differs.get(uri, before) == now:
            differs.pop(uri, None)
        else:
            differs.setdefault(uri, before)
        if now != NOTHING:
            other[row] = (stamp, now)
    return Sight(differs, "", other)


def _unequal(now: bytes, before: bytes) -> Iterator[int]:
    """Rows with another stamp. Most blocks are equal as a whole."""
    size, block = 8 * _FILE_WORDS, 8 * _FILE_WORDS * 512
    for start in range(0, len(now), block):
        if now[start : start + block] != before[start : start + block]:
            for at in range(start, min(start + block, len(now)), size):
                if now[at : at + size] != before[at : at + size]:
                    yield at // size


def _hash(path: bytes, *, link: bool) -> bytes:
    """The hash of a file's bytes, or of a link's target. Raises OSError when it has become something else."""
    if link:
        return hash_of(os.readlink(path))  # noqa: PTH115 - bytes, not a path
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path!r} is not a regular file")
        hasher = new_hash()
        while block := os.read(descriptor, _BLOCK):
            hasher.update(block)
        return hasher.digest()
    finally:
        os.close(descriptor)


def renewed(record: Record, sight: Sight, now_ns: int) -> Record:
    """The record after a look, so that the next one reads less. Stamps that are too young to be trusted stay unknown."""
    young = now_ns - RACY_NS
    stamps, hashes, folders = array("q", record.stamps), bytearray(record.hashes), array("q", record.folder_stamps)
    for row, (stamp, content) in sight.files.items():
        stamps[row * _FILE_WORDS : (row + 1) * _FILE_WORDS] = array("q", stamp if stamp[2] < young else _UNKNOWN)
        hashes[row * _HASH_BYTES : (row + 1) * _HASH_BYTES] = content
    for row, (inode, mtime) in sight.folders.items():
        folders[row * _FOLDER_WORDS : (row + 1) * _FOLDER_WORDS] = array("q", (inode, mtime if mtime < young else 0))
    return msgspec.structs.replace(
        record, stamps=stamps.tobytes(), hashes=bytes(hashes), folder_stamps=folders.tobytes(), differs=dict(sight.differs)
    )
