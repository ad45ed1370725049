"""Durable files: the only place where published bytes are written, linked, renamed or digested.

The protocol: write into a temporary sibling, fsync files and directories, rename, fsync the parent. A reader therefore sees
all of a thing or nothing of it, also after a power cut.

Belongs here: what would be the same for any store. Not here: which files an artefact has (`schemas`, `store`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

TEMPORARY_PREFIX = ".tmp-"
_LITTER = (TEMPORARY_PREFIX, ".bad-")
"""What is no longer wanted once its writer is dead; the second is what caches call what they found damaged."""
_BLOCK = 1 << 20
_DIGEST_BYTES = 32
_AT_CWD, _EXCHANGE = -100, 2
"""Linux's `AT_FDCWD` and `RENAME_EXCHANGE`."""
_REMOVALS = 100
"""How often removing a busy folder is tried, a millisecond apart."""
_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What linking fails with where a file cannot be linked at all: another device, a file system without hard links."""


def new_hash() -> hashlib.blake2b:
    """The one digest of the store: blake2b with 32 bytes."""
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def seal_of(data: bytes) -> bytes:
    """The digest of `data`, 32 bytes."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def digest_bytes(data: bytes) -> str:
    """Hex digest of `data`."""
    return seal_of(data).hex()


def digest_file(path: Path) -> str:
    """Hex digest of a file's bytes, read in blocks."""
    hasher = new_hash()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, UTF-8: equal values give equal bytes."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"


def fsync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY)


def _fsync(path: Path | str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path | str) -> None:
    """Make the bytes of a file durable, before it gets another name."""
    _fsync(path, os.O_RDONLY)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, each one durable in its parent."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    fsync_directory(path.parent)


def temporary_sibling(path: Path) -> Path:
    """A fresh name beside `path`, on the same device, that sweeping recognises."""
    return path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically and durably."""
    make_directory(path.parent)
    write_there(path, data)


def write_there(path: Path, data: bytes, *, below: Path | None = None) -> None:
    """`write_file` into a folder that is there, or is made in one that is there, `below`; else FileNotFoundError.

    What is kept about something that was removed meanwhile must not bring back its folder.
    """
    if below is not None and not path.parent.is_dir():
        (below / path.parent.name).mkdir(exist_ok=True)
        fsync_directory(below)
    try:
        _write_file(path, data, durable=True)
    except FileNotFoundError:
        # Whoever began to build meanwhile took the unfinished file for that of a dead process.
        _write_file(path, data, durable=True)
    fsync_directory(path.parent)


def write_own_file(path: Path, data: bytes) -> None:
    """`write_file` in a folder that is this program's own: a folder that is in the way there is set aside."""
    if path.is_dir() and not path.is_symlink():
        path.rename(temporary_sibling(path))
    write_file(path, data)


def _write_file(path: Path, data: bytes, *, durable: bool) -> None:
    temporary = temporary_sibling(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_cache(path: Path, payload: bytes, *, durable: bool = False) -> None:
    """Replace a cache atomically, sealed by its digest, in a folder that is there (see `write_there`).

    Unless `durable`, a power cut may take it or damage it, which shows.
    """
    sealed = seal_of(payload) + payload
    if durable:
        write_there(path, sealed)
    else:
        _write_file(path, sealed, durable=False)


def read_cache(path: Path) -> bytes | None:
    """The payload of what `write_cache` wrote; None where there is nothing, or nothing to be trusted."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    payload = raw[_DIGEST_BYTES:]
    return payload if seal_of(payload) == raw[:_DIGEST_BYTES] else None


def put_file(made: Path, path: Path, *, replace: bool = True) -> None:
    """Move a finished file, on the same device, to `path` atomically and durably.

    Without `replace` a file that is there stays. Raises FileExistsError then.
    """
    fsync_file(made)
    if replace:
        made.replace(path)
    else:
        # Unlike a rename, a link never takes the place of anything. Where there are no links, looking first must do.
        try:
            os.link(made, path)
            made.unlink()
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(path):
                raise
            made.replace(path)
    fsync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_file` of `canonical_json`."""
    write_file(path, canonical_json(value))


@contextlib.contextmanager
def directory_commit(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary directory that becomes `target` when the block ends well, and vanishes when it does not.

    Where `target` exists by then, somebody finished first: theirs stays and ours is dropped. With `replace` ours takes its
    place, and theirs is removed; where the system can exchange names there is no moment without either.
    """
    make_directory(target.parent)
    temporary = temporary_sibling(target)
    temporary.mkdir()
    began = temporary.stat().st_mtime_ns
    try:
        yield temporary
        _fsync_tree(temporary, began)
        if not (replace and _exchange(temporary, target)):
            try:
                temporary.rename(target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) and not replace:
                    raise
                if replace:
                    target.rename(temporary_sibling(target))
                    temporary.rename(target)
        fsync_directory(target.parent)
    finally:
        with contextlib.suppress(OSError):
            remove(temporary)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step. False where there is no second one, or where the system has no such step."""
    if not os.path.lexists(second):
        return False
    try:
        rename: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if rename(_AT_CWD, os.fsencode(first), _AT_CWD, os.fsencode(second), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOENT):
        return False
    raise OSError(number, os.strerror(number), str(second))


def _fsync_tree(root: Path, began: int) -> None:
    folders = [root]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                    continue
                status = entry.stat(follow_symlinks=False)
                # A link to what was there before was committed under its other name, and is durable.
                if status.st_nlink == 1 or status.st_mtime_ns >= began:
                    fsync_file(entry.path)
        fsync_directory(folder)


Link = Callable[[Path, Path], None]
"""Gives a file (first) one more name (second)."""


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """Hard-link a published file, or copy it where linking is impossible (another device, no hard links)."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)


def tree_files(root: Path) -> list[Path]:
    """All regular files under `root`, sorted by their relative POSIX path. Symlinks are not followed."""
    found = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def tree_statuses(root: Path) -> dict[str, os.stat_result]:
    """What each file under `root` looks like, by relative POSIX path. A link is a file of its own, wherever it leads."""
    found: dict[str, os.stat_result] = {}
    folders = [("", str(root))]
    while folders:
        prefix, folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append((f"{prefix}{entry.name}/", entry.path))
                else:
                    found[prefix + entry.name] = entry.stat(follow_symlinks=False)
    return found


def remove(path: Path) -> None:
    """Remove a file, a symlink or a whole directory, whatever there is. Raises OSError for what cannot be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_busy(folder: Path) -> None:
    """Remove a folder into which a thread that is ending may still put a file. Raises OSError for what stays all the same."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.001)
    shutil.rmtree(folder)


@contextlib.contextmanager
def scratch_folder(prefix: str, within: str | None = None) -> Iterator[Path]:
    """A private folder `within` another, else among the system's temporary ones, as long as the block lasts."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            remove_busy(folder)


def sweep_temporaries(folder: Path, *, older: float = 0.0) -> int:
    """Remove what crashed writers left directly in `folder`, and what was set aside there as damaged; returns how many.

    Where others may be writing, only what is `older` than so many seconds.
    """
    count = 0
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name.startswith(_LITTER)]
    except OSError:
        return 0
    for entry in entries:
        with contextlib.suppress(OSError):
            if not older or time.time() - entry.stat(follow_symlinks=False).st_mtime > older:
                remove(Path(entry.path))
                count += 1
    return count
