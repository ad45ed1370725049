"""Stores that cannot be written, are full, foreign, newer, damaged or busy: a clear sentence, and what is published stays."""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pipeline.store.versions import read_manifest

ROOT = Path(__file__).resolve().parents[2]


os_symlink, os_link = os.symlink, os.link


def snapshot(root: Path) -> dict[str, bytes]:
    """What a user would miss: CURRENT and everything that is published."""
    kept = [root / "CURRENT", *(path for path in (root / "versions").rglob("*") if path.is_file() and ".tmp-" not in str(path))]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}


@contextmanager
def refusing_writes(root: Path, code: int, *, after: int = 0) -> Iterator[None]:
    """Every call that would change something under `root` fails, from number `after` on."""
    left = after

    def refuse(path: Any) -> None:
        nonlocal left
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(str(root)):
            left -= 1
            if left < 0:
                raise OSError(code, os.strerror(code), os.fsdecode(path))

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            # What a link points at is not changed.
            for argument in arguments[1:2] if function in (os_symlink, os_link) else arguments[:2]:
                refuse(argument)
            return function(*arguments, **keywords)

        return call

    def opening(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: Any = "r", *arguments: Any, **keywords: Any) -> Any:
            if isinstance(mode, str) and set(mode) & set("wax+"):
                refuse(file)
            if isinstance(mode, int) and mode & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                refuse(file)
            return function(file, mode, *arguments, **keywords)

        return call

    with (
        mock.patch.multiple(
            os,
            open=opening(os.open),
            **{
                name: guarded(getattr(os, name))
                for name in ("mkdir", "rename", "replace", "link", "unlink", "rmdir", "symlink")
            },
        ),
        mock.patch.object(io, "open", opening(io.open)),
        mock.patch.object(builtins, "open", opening(builtins.open)),
    ):
        yield


def edit(world: Any) -> None:
    (world.repo / "harbour/tides.py").write_text("def ebb_and_flow(): pass\n")


def test_a_read_only_store_is_read_and_a_build_into_it_says_so(world: Any) -> None:
    before = snapshot(world.home)
    with refusing_writes(world.store, errno.EROFS):
        assert world("search", "tide", "--json").json["results"]
        for command in (["status"], ["versions"], ["verify"], ["sql", "SELECT count(*) FROM chunks"], ["plan", world.repo]):
            assert world(*command).code == 0, command
        unchanged = world.build()
        assert unchanged.code == 0 and unchanged.json["built"] == []
    edit(world)
    with refusing_writes(world.store, errno.EROFS):
        refused = world.build()
        assert refused.code == 1 and "read-only" in refused.err and "--data" in refused.err
        assert refused.err.count("\n") == 1
    assert snapshot(world.home) == before


def test_a_store_that_cannot_be_made_says_so(demo: Path, tmp_path: Path, indexctl: Any) -> None:
    with refusing_writes(tmp_path, errno.EROFS):
        done = indexctl("build", demo, "--data", tmp_path / "s", "--ephemeral")
    assert done.code == 1 and "read-only" in done.err
    (tmp_path / "file").write_text("")
    done = indexctl("build", demo, "--data", tmp_path / "file", "--ephemeral")
    assert done.code in (1, 2) and "file" in done.err and done.err.count("\n") == 1
    done = indexctl("build", demo, "--data", tmp_path / "file/s", "--ephemeral")
    assert done.code in (1, 2) and done.err.count("\n") == 1


@pytest.mark.parametrize("after", [0, 3, 25, 60, 100])
def test_a_disk_that_fills_up_loses_nothing_and_the_next_build_succeeds(world: Any, after: int) -> None:
    before = snapshot(world.home)
    edit(world)
    with refusing_writes(world.store, errno.ENOSPC, after=after):
        failed = world.build()
    assert failed.code == 1 and "full" in failed.err and "Traceback" not in failed.err, failed
    assert failed.err.count("\n") == 1
    assert snapshot(world.home) == before
    assert world("search", "tide").code == 0 and world("verify").code == 0
    again = world.build()
    assert again.code == 0 and again.json["published"]
    assert world("verify").code == 0
    assert not [path for path in world.home.glob("**/.tmp-*") if path.parent.name != "verified"]


@pytest.mark.parametrize("limit", [0, 7_000])
def test_files_that_may_not_grow_fail_a_build_in_one_sentence(world: Any, limit: int) -> None:
    before = snapshot(world.home)
    edit(world)
    script = (
        "import resource, dagster, duckdb, pyarrow.parquet, tantivy\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
        "from pipeline.interfaces.main import main\n"
        f"main(['build', {str(world.repo)!r}, '--data', {str(world.store)!r}, '--json', '--ephemeral'])"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and "unexpected" not in done.stderr, done.stderr
    assert snapshot(world.home) == before
    assert world("search", "tide").code == 0
    assert world.build().code == 0


@pytest.mark.parametrize("limit", [300, 150_000])
def test_a_run_that_cannot_be_recorded_says_so_and_ephemeral_is_the_way_out(world: Any, limit: int) -> None:
    before = snapshot(world.home)
    edit(world)
    script = (
        "import resource, dagster, duckdb, pyarrow.parquet, tantivy\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
        "from pipeline.interfaces.main import main\n"
        f"main(['build', {str(world.repo)!r}, '--graph', '--data', {str(world.store)!r}, '--json'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr and "unexpected" not in done.stderr, done.stderr
    assert snapshot(world.home) == before
    assert world.build().code == 0


def test_a_store_of_a_newer_format_is_refused_by_every_command(world: Any) -> None:
    (world.store / "store.json").write_text(json.dumps({"format": 99, "program": "codeintel-pipeline"}))
    before = snapshot(world.home)
    for command in (["search", "x"], ["status"], ["verify"], ["build", world.repo], ["plan", world.repo], ["rollback"]):
        done = world(*command)
        assert done.code == 1 and "format 99" in done.err and "Update" in done.err, command
    assert snapshot(world.home) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x"}', "{}", "\xff"])
def test_a_store_description_that_is_none_is_refused(world: Any, text: str) -> None:
    (world.store / "store.json").write_text(text, "latin-1")
    for command in (["search", "x"], ["build", world.repo]):
        done = world(*command)
        assert done.code == 1 and "store.json" in done.err and done.err.count("\n") == 1


def test_a_folder_that_is_no_store_is_never_written_to(demo: Path, tmp_path: Path, indexctl: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all I have")
    done = indexctl("build", demo, "--data", tmp_path / "mine")
    assert done.code == 2 and "not a store" in done.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert indexctl("search", "x", "--data", tmp_path / "mine").code == 3


@pytest.mark.parametrize("content", [b"", b"rubbish\n", b"../../etc\n", b"\xff\xfe", b"v-0000000000000000\n"])
def test_a_damaged_current_is_reported_and_build_or_rollback_repairs_it(world: Any, content: bytes) -> None:
    version = world.version
    (world.home / "CURRENT").write_bytes(content)
    for command in (["search", "tide"], ["verify"]):
        done = world(*command)
        assert done.code in (1, 3) and "indexctl" in done.err and done.err.count("\n") == 1, (command, done)
    assert world("versions").code == 0 and world("status").code == 0
    assert world("rollback", version).code == 0 and world.version == version
    (world.home / "CURRENT").write_bytes(content)
    repaired = world.build()
    assert repaired.code == 0 and repaired.json["version"] == version == world.version
    assert world("search", "tide").code == 0


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("faiss.index", "flip"),
        ("vectors/shard-000.npy", "flip"),
        ("lexical", "flip"),
        ("chunks", "flip"),
        ("manifest.json", "flip"),
        ("embedder.json", "flip"),
        ("lexical", "truncate"),
        ("manifest.json", "truncate"),
        ("vectors/shard-000.npy", "remove"),
        ("manifest.json", "remove"),
    ],
)
def test_a_damaged_artefact_of_the_published_version_is_never_used_and_build_repairs_it(
    world: Any, what: str, damage: str
) -> None:
    version = world.version
    path = world.published / what
    if path.is_dir():
        path = max(path.iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()
    used = ["sql", "SELECT count(*) FROM chunks"] if what == "chunks" else ["search", "tide"]
    refused = world(*used)
    assert path.name in refused.err and "indexctl" in refused.err and refused.err.count("\n") == 1, refused
    if what in ("faiss.index", "vectors/shard-000.npy", "embedder.json"):
        # Vectors alone: words still answer, and a warning says what they do without.
        assert refused.code == 0 and "`dense` could not answer" in refused.err and refused.out
    else:
        assert refused.code == 1 and refused.out == ""
    assert world("verify").code == 1 and world("status").code == 0 and world("versions").code == 0
    repaired = world.build()
    assert repaired.code == 0, repaired.err
    assert repaired.json["version"] == version == world.version
    assert world("verify").code == 0 and world("search", "tide").code == 0


def test_a_damaged_object_in_the_cache_is_rebuilt_and_never_published(world: Any) -> None:
    for path in (world.home / "objects/chunks").rglob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-7])
    edit(world)
    assert world.build().code == 0
    verified = world("verify", "--json")
    assert verified.json["problems"] == [] and verified.code == 0
    # Back at the first tree, the version is still there whole.
    assert world("rollback").code == 0 and world("verify").code == 0


def test_the_cache_may_be_deleted_at_any_time(world: Any) -> None:
    import shutil

    version = world.version
    shutil.rmtree(world.home / "objects")
    shutil.rmtree(world.home / "refs")
    shutil.rmtree(world.store / "_shared")
    assert world.build().json["built"] == [] and world("search", "tide").code == 0
    edit(world)
    assert world.build().json["version"] != version and world("verify").code == 0


def test_a_second_builder_is_turned_away_and_searches_go_on(world: Any) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from pipeline.store.layout import Store\nfrom pipeline.store.locks import builder\n"
        f"with builder(Store(Path({str(world.store)!r})).repository('demo')):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    edit(world)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        busy = world.build()
        assert busy.code == 4 and f"process {holder.pid}" in busy.err and "searches go on" in busy.err
        assert world("rollback").code in (3, 4)
        assert world("search", "tide", "--json").json["results"]
        assert world("verify").code == 0 and world("plan", world.repo).code == 0
        assert "being built" in world("status").out
        assert holder.stdin is not None
        holder.stdin.close()
    assert world.build().code == 0


def test_a_manifest_of_a_newer_format_is_named(world: Any) -> None:
    path = world.published / "manifest.json"
    document = json.loads(path.read_bytes())
    document["format"] = 99
    path.write_text(json.dumps(document))
    done = world("search", "tide")
    assert done.code == 1 and "format 99" in done.err
    assert world("verify").code == 1


def test_every_listed_file_of_a_version_exists(built: Any) -> None:
    listed = {stored.path for stored in read_manifest(built.published).all_files()}
    found = {path.relative_to(built.published).as_posix() for path in built.published.rglob("*") if path.is_file()}
    assert found == listed | {"manifest.json", "build.json"}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"name": 3}'])
def test_a_damaged_record_of_a_repository_hurts_no_other_and_build_repairs_it(
    world: Any, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/b.py").write_text("def elsewhere(): pass\n")
    assert world.build(path=tmp_path / "other").code == 0
    (world.home / "repository.json").write_bytes(content)
    assert world("search", "elsewhere", cwd=tmp_path / "other").code == 0
    assert world("status").code == 0
    refused = world("search", "tide", "--repo", "demo")
    assert refused.code == 1 and "repository.json" in refused.err and "--repo demo" in refused.err
    assert world.build("--repo", "demo").code == 0
    assert world("search", "tide", "--repo", "demo").code == 0
