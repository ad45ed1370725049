"""Asking how fresh an index is without keeping an answer waiting for it.

In a small repository the question costs some milliseconds and is asked in passing. In a large one a process of its own looks
through the tree while this one searches; when it is not done soon after the answer is, the answer says that nobody looked, and
the process leaves what it saw to the next one.

Belongs here: when and where the question is asked, for the command and for servers. Not here: the comparison itself
(`source.freshness`).
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pipeline.config import Settings, SourceSettings
from pipeline.errors import CodeIntelError
from pipeline.source.freshness import NOT_CHECKED, Freshness, Indexed, freshness, git_place, seconds_for
from pipeline.store.layout import Origin, Repository, Store, read_origin
from pipeline.store.versions import Version, open_version

AT_ONCE = 0.05
"""A comparison that is to take so many seconds is not worth a process of its own."""
GRACE = 0.1
"""Seconds that an answer waits for the other process."""


class _Question(msgspec.Struct, frozen=True):
    """What is compared with what: a tree, and a version of a repository in the store."""

    path: str
    rev: str | None
    settings: SourceSettings
    cache: str
    skip: str
    name: str
    home: str
    version: str
    indexed: Indexed

    def ask(self) -> Freshness:
        """Compare, however long that takes."""
        repository = Repository(self.name, Path(self.home))
        return freshness(
            Path(self.path), rev=self.rev, settings=self.settings, indexed=self.indexed, hashes=self._hashes,
            cache=Path(self.cache), memory=repository.compared, skip=Path(self.skip),
        )  # fmt: skip

    def _hashes(self) -> Mapping[str, bytes] | None:
        from pipeline.schemas import Files
        from pipeline.tables import read_columns

        try:
            with open_version(Repository(self.name, Path(self.home)), self.version) as version:
                table = read_columns(version.ensure("source_snapshot"), Files, ["uri", "content_hash"])
        except CodeIntelError:
            return None
        rows = zip(table["uri"].to_pylist(), table["content_hash"].to_pylist(), strict=True)
        return {uri: content for uri, content in rows if content is not None}


@dataclass
class Looking:
    """A comparison that may be under way. `result` waits for it, but not for long."""

    _question: _Question
    _process: subprocess.Popen[bytes] | None = None
    _found: Freshness | None = field(default=None)

    def result(self) -> Freshness:
        """What came of it; after `GRACE` seconds, that nothing is known yet."""
        if self._found is None:
            self._found = self._question.ask() if self._process is None else _answer_of(self._process, GRACE)
        return self._found


def look(store: Store, repository: Repository, version: Version, settings: Settings) -> Looking:
    """Begin to compare the repository with a version of it."""
    question = _question(store, repository, version, settings)
    process = None
    if seconds_for(Path(question.cache), question.indexed.rows) > AT_ONCE:
        # It goes on when this process ends, so that what it saw is not lost.
        with contextlib.suppress(OSError):
            process = subprocess.Popen(
                # Without -P, whatever lies in the working directory could be imported in place of what is meant.
                [sys.executable, "-P", "-m", "pipeline.interfaces.looking"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            assert process.stdin is not None  # a pipe was asked for
            process.stdin.write(msgspec.json.encode(question))
            process.stdin.close()
    return Looking(question, process)


def freshness_of(
    store: Store, repository: Repository, version: Version, settings: Settings, path: Path | None = None
) -> Freshness:
    """Compare the repository (or the work tree of it at `path`) with a version of it, however long that takes."""
    return _question(store, repository, version, settings, path).ask()


def _question(
    store: Store, repository: Repository, version: Version, settings: Settings, path: Path | None = None
) -> _Question:
    origin = read_origin(repository)
    snapshot = version.manifest.artefacts["source_snapshot"]
    indexed = Indexed(snapshot.recipe["external"]["scan"], int(snapshot.facts["rows"]), version.manifest.commit)
    tree = path or _tree_of(origin)
    # Another worktree has other inodes; the two of them are not to forget each other.
    cache = repository.scan_cache if str(tree) == origin.path else repository.scan_cache.with_suffix(".other")
    return _Question(
        str(tree), None if path else origin.rev, settings.source, str(cache), str(store.root), repository.name,
        str(repository.path), version.name, indexed,
    )  # fmt: skip


def _tree_of(origin: Origin) -> Path:
    """The tree that is meant: in the worktree of the repository around the working directory, else where it was last built."""
    path = Path(origin.path)
    if origin.git is None:
        return path
    with contextlib.suppress(CodeIntelError, OSError):
        place = git_place(Path.cwd())
        if place is not None and place.folder == origin.git and place.top is not None:
            here = Path(place.top) / origin.inside
            return here if here.is_dir() else path
    return path


def _answer_of(process: subprocess.Popen[bytes], grace: float) -> Freshness:
    stream, until = process.stdout, time.monotonic() + grace
    assert stream is not None  # a pipe was asked for
    said = b""
    while select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
        block = stream.read1()  # type: ignore[attr-defined] # what a pipe is, is buffered
        if not block:
            break
        said += block
    try:
        return msgspec.json.decode(said, type=Freshness)
    except msgspec.DecodeError:
        return Freshness(stale=False, files=None, reason=NOT_CHECKED)


def _main() -> None:
    """The other process: a question on standard input, the answer on standard output."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=_Question)
    answer = msgspec.json.encode(question.ask())
    # Whoever asked may have gone.
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
