"""Parts of the CST table that were made before: what is read again, and what is believed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline import tables, workers
from pipeline.config import CstSettings, SourceSettings
from pipeline.errors import CodeIntelError
from pipeline.schemas import CstNodes
from pipeline.source.scan import scan
from pipeline.source.stage import source_snapshot
from pipeline.stage import Artefact, Output
from pipeline.store.objects import sealed_digest
from pipeline.structure.cst import part_cache, reading, stage
from pipeline.structure.cst.stage import cst_nodes
from pipeline.workers import Runtime

FILES = {"a.py": "import os\nos.getcwd()\n", "b.py": "def f(x):\n    return f(x)  # again\n", "old.py": "print 'x'\n"}
MANY = {f"f{number:03}.py": f"x{number} = f({number})\n" for number in range(130)}
"""Enough for two parts."""

Read = Callable[[bytes], Any]


class World:
    """A folder to snapshot, a shared folder, and tables in `out1`, `out2` and so on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shared = root / "shared"
        self.count = 0

    def table(self, files: Mapping[str, str], *, shared: bool = True, worker_count: int = 1) -> dict[str, bytes]:
        """The files of the object that is made from these sources, by name."""
        self.count += 1
        folder, snapshot, out = (self.root / f"{name}{self.count}" for name in ("repo", "snapshot", "out"))
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, newline="")
        source_snapshot(scan(folder, settings=SourceSettings()), Runtime(), Output(snapshot))
        source = Artefact(repo="r", asset="source_snapshot", key="k", path=snapshot, schema="", digest="", lineage={})
        cst_nodes(source, CstSettings(), Runtime(worker_count, self.shared if shared else None), Output(out))
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}

    def fresh(self, files: Mapping[str, str]) -> dict[str, bytes]:
        """The same without a cache."""
        return self.table(files, shared=False)

    def parts(self) -> list[Path]:
        """What is kept."""
        return sorted(path for path in self.shared.glob("cst/*/*") if not path.name.startswith("."))

    def bad(self) -> list[Path]:
        """What was set aside."""
        return list(self.shared.glob("cst/*/.bad-*"))

    def litter(self) -> list[Path]:
        """What was left half done."""
        return list(self.shared.glob("cst/*/.tmp-*"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@contextlib.contextmanager
def contents_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The contents that libcst is given inside the block."""
    asked: list[str] = []
    real = reading.read

    def read(content: bytes) -> Any:
        asked.append(content.decode())
        return real(content)

    with monkeypatch.context() as patched:
        patched.setattr(reading, "read", read)
        yield asked


def test_an_unchanged_part_is_linked_and_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.table(FILES)
    with contents_read(monkeypatch) as asked, monkeypatch.context() as patched:
        patched.setattr(tables, "write_part", lambda *_: pytest.fail("a part was written"))
        assert world.table(FILES) == first
    assert asked == []
    one, other = (next((world.root / f"out{number}").rglob("*.parquet")).stat().st_ino for number in (1, 2))
    assert one == other


def test_the_bytes_are_the_same_with_and_without_the_cache(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "POOL_THRESHOLD_BYTES", 0)
    edited = MANY | {"f007.py": "class C: pass\n", "new.py": "y()\n"}
    world.table(MANY)
    assert world.table(MANY) == world.fresh(MANY)
    assert world.table(edited) == world.fresh(edited)
    assert world.table(MANY | FILES, worker_count=2) == world.fresh(MANY | FILES)


def test_after_an_edit_only_the_edited_file_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.table(MANY)
    inodes = {path.stat().st_ino for path in (world.root / "out1").rglob("*.parquet")}
    edited = MANY | {"f064.py": "edited(1)\n"}
    with contents_read(monkeypatch) as asked:
        made = world.table(edited)
    assert asked == ["edited(1)\n"]
    assert made == world.fresh(edited)
    parts = [path.stat().st_ino for path in (world.root / "out2").rglob("*.parquet")]
    assert len(parts) == 2
    assert len(inodes & set(parts)) == 1


def test_a_content_is_known_under_any_name_in_any_repository(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.table(FILES)
    moved = {f"src/{name}": text for name, text in FILES.items()} | {"copy.py": FILES["a.py"], "z.py": "z = 1\n"}
    with contents_read(monkeypatch) as asked:
        made = world.table(moved)
    assert asked == ["z = 1\n"]
    assert made == world.fresh(moved)


def test_a_table_that_is_cut_anew_takes_its_rows_from_the_parts_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {name: MANY[name] for name in sorted(MANY)[:128]}
    assert sum(name.endswith(".parquet") for name in world.table(some)) == 1
    with contents_read(monkeypatch) as asked:
        made = world.table(MANY)
    assert sorted(asked) == sorted(set(MANY.values()) - set(some.values()))
    assert made == world.fresh(MANY)


def test_why_a_file_was_rejected_is_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.table(FILES)
    with contents_read(monkeypatch) as asked:
        made = [world.table(FILES), world.table({"other.py": FILES["old.py"], "b.py": FILES["b.py"]})]
    assert asked == []
    assert [json.loads(one["cst_rejected.json"])["rejected"] for one in made] == [
        [{"uri": "old.py", "reason": "syntax error at line 1"}],
        [{"uri": "other.py", "reason": "syntax error at line 1"}],
    ]


def test_parts_made_with_other_versions_are_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.table(FILES)
    real = stage.version
    for changed in ("libcst", "pyarrow"):
        with contents_read(monkeypatch) as asked, monkeypatch.context() as patched:
            patched.setattr(stage, "version", lambda name, changed=changed: "0" if name == changed else real(name))
            world.table(FILES)
        assert len(asked) == len(FILES)
    assert len(list(world.shared.glob("cst/*"))) == 3


def _damage(part: Path, name: str, damage: str) -> None:
    path = part / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    changed = {"truncate": bytes(raw[: len(raw) // 2]), "flip": bytes(raw), "empty": b"", "foreign": b"PAR1 or {}"}
    # In place: the table of the object before is the same file.
    path.unlink() if damage == "remove" else path.write_bytes(changed[damage])


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty", "foreign"])
@pytest.mark.parametrize("name", ["part.parquet", "part.json"])
@pytest.mark.parametrize("changed", [{}, {"a.py": "other = 1\n"}], ids=["as a whole", "by content"])
def test_what_is_damaged_is_set_aside_and_made_again(world: World, name: str, damage: str, changed: dict[str, str]) -> None:
    wanted = world.fresh(FILES | changed)
    world.table(FILES)
    _damage(world.parts()[0], name, damage)
    assert world.table(FILES | changed) == wanted
    assert len(world.bad()) == len(world.parts()) == 1
    assert world.table(FILES | changed) == wanted
    assert len(world.bad()) == 1


def _resealed(part: Path, **changes: object) -> None:
    """Let a part say something else of itself, with a right digest."""
    path = part / "part.json"
    record = msgspec.json.decode(path.read_bytes(), type=part_cache._Description)
    record = msgspec.structs.replace(record, **changes)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(record, digest=sealed_digest(record))))


@pytest.mark.parametrize(
    "changes", [{"format": 3}, {"key": "0" * 32}, {"recipe": "0" * 32}, {"rows": [1, 1]}, {"reasons": []}, {"rows": [9, 9, 0]}]
)
def test_what_speaks_of_something_else_is_not_believed(world: World, changes: dict[str, object]) -> None:
    edited = FILES | {"new.py": "n = 1\n"}
    world.table(FILES)
    _resealed(world.parts()[0], **changes)
    assert world.table(edited) == world.fresh(edited)
    assert len(world.bad()) == 1


def test_a_part_under_another_name_is_not_believed(world: World) -> None:
    world.table(FILES)
    world.table({"c.py": "c = 1\n"})
    first, second = world.parts()
    shutil.rmtree(second)
    first.rename(second)
    for files in (FILES, {"c.py": "c = 1\n"}):
        assert world.table(files) == world.fresh(files)


def test_a_part_that_vanishes_meanwhile_is_a_miss(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, edited = world.table(FILES), FILES | {"new.py": "n = 1\n"}
    real = stage.write

    def write(job: Any) -> Any:
        shutil.rmtree(world.shared / "cst")
        return real(job)

    with monkeypatch.context() as patched:
        patched.setattr(stage, "write", write)
        assert world.table(FILES) == wanted
        assert world.table(edited) == world.fresh(edited)
    assert world.bad() == []


def test_a_part_that_vanishes_after_it_was_checked_is_a_miss(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, real = world.table(FILES), part_cache.link_or_copy

    def link_or_copy(source: Path, target: Path) -> None:
        if source.is_relative_to(world.shared):
            shutil.rmtree(source.parent)
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(part_cache, "link_or_copy", link_or_copy)
        assert world.table(FILES) == wanted
    assert len(world.parts()) == 1


def test_a_build_that_was_interrupted_keeps_the_parts_that_it_finished(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = reading.read, [100]

    def interrupted(content: bytes) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(reading, "read", interrupted)
        world.table(MANY)
    assert len(world.parts()) == 1
    with contents_read(monkeypatch) as asked:
        made = world.table(MANY)
    assert 0 < len(asked) < 100
    assert made == world.fresh(MANY)


class Killed(BaseException):
    """The process is gone."""


CHANGES = ("rename", "replace", "link", "fsync", "mkdir", "unlink", "rmdir", "utime")


@contextlib.contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, at: int, *, dead: bool) -> Iterator[list[str]]:
    """Let the `at`-th change of the file system fail for lack of space; or, with `dead`, it and all later ones."""
    calls: list[str] = []

    def guarded(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls.append(name)
            if dead and len(calls) >= at:
                raise Killed
            if len(calls) == at and name not in ("unlink", "rmdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **keywords)

        return call

    with monkeypatch.context() as patched:
        for name in CHANGES:
            patched.setattr(os, name, guarded(name, getattr(os, name)))
        yield calls


@pytest.mark.parametrize("dead", [False, True], ids=["full disk", "killed"])
def test_no_moment_at_which_a_build_ends_early_does_harm(world: World, monkeypatch: pytest.MonkeyPatch, dead: bool) -> None:
    wanted, edited = world.fresh(FILES), FILES | {"a.py": "other = 1\n"}
    wanted_edited = world.fresh(edited)
    at, ended = 1, False
    while not ended:
        shutil.rmtree(world.shared, ignore_errors=True)
        world.table({"c.py": "c = 1\n", "b.py": FILES["b.py"]})
        with failing(monkeypatch, at, dead=dead) as calls:
            try:
                world.table(FILES)
                ended = len(calls) < at
            except (OSError, Killed):
                pass
        assert world.table(FILES) == wanted
        assert world.table(edited) == wanted_edited
        assert world.bad() == []
        at += 1
    assert at > 10


def test_two_builds_at_once_do_no_harm(world: World) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import pathlib, test_cst_cache as t
world = t.World(pathlib.Path(sys.argv[1])); world.shared = pathlib.Path({str(world.shared)!r})
for number in range(25):
    files = {{f"{{n}}.py": f"x{{n}} = f()\\n" for n in range(number, number + 5)}}
    assert world.table(files) == world.fresh(files)
"""
    builds = [subprocess.Popen([sys.executable, "-c", script, world.root / name]) for name in ("one", "two")]
    assert [build.wait(120) for build in builds] == [0, 0]
    assert len(world.parts()) == 25
    assert world.bad() == world.litter() == []


def _used(part: Path, seconds_ago: float) -> None:
    moment = time.time() - seconds_ago
    os.utime(part / "part.json", (moment, moment))


def test_the_parts_that_were_not_used_for_longest_are_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_cache, "MAX_PARTS", 8)
    kept: dict[str, Path] = {}
    for number, name in enumerate("abcdefgh"):
        world.table({f"{name}.py": f"{name} = 1\n"})
        kept[name] = next(part for part in world.parts() if part not in kept.values())
        _used(kept[name], 1000 - number * 3 % 8)
    world.table({"a.py": "a = 1\n"})
    monkeypatch.setattr(part_cache, "MAX_PARTS", 4)
    world.table({"new.py": "new = 1\n"})
    # In the order of their last use: d, g, b, e, h, c, f, and a, which was used again.
    assert "".join(name for name, part in kept.items() if part.exists()) == "acf"
    assert len(world.parts()) == 4


def test_a_bound_in_bytes_holds_but_for_what_is_in_use(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.table(FILES)
    monkeypatch.setattr(part_cache, "MAX_BYTES", 0)
    world.table(MANY)
    assert len(world.parts()) == 2
    with contents_read(monkeypatch) as asked:
        world.table(MANY)
    assert asked == []
    world.table({"c.py": "c = 1\n"})
    assert len(world.parts()) == 1


def test_what_crashed_writers_left_goes_after_a_day(world: World) -> None:
    world.table(FILES)
    recipe = world.parts()[0].parent
    for name in (".tmp-1-old", ".bad-old", ".tmp-2-young"):
        (recipe / name).mkdir()
        (recipe / name / "part.parquet").write_bytes(b"half")
        if not name.endswith("young"):
            os.utime(recipe / name, (0, 0))
    world.table({"c.py": "c = 1\n"})
    assert {path.name for path in recipe.iterdir() if path.name.startswith(".")} == {".tmp-2-young"}


def test_a_lack_of_memory_is_not_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(CodeIntelError):
        patched.setattr(reading, "read", fail)
        world.table(FILES)
    assert world.parts() == []
    assert world.table(FILES) == world.fresh(FILES)


def test_a_kept_part_is_a_table_and_a_description_in_json(world: World) -> None:
    world.table(FILES)
    part = world.parts()[0]
    assert sorted(path.name for path in part.iterdir()) == ["part.json", "part.parquet"]
    described = json.loads((part / "part.json").read_bytes())
    assert (described["format"], described["reasons"]) == (2, ["syntax error at line 1"])
    assert tables.read_part(part / "part.parquet", CstNodes).num_rows == sum(described["rows"])
