"""`catalog.duckdb`: what is in it, when it is written, and what else may lie in its place."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.catalog import database
from pipeline.catalog.database import META, TABLES, Contents, materialize, read_contents, write_views
from pipeline.catalog.views import connect, literal
from pipeline.config import SearchSettings
from pipeline.errors import CodeIntelError, NotFoundError, QueryError, StoreBusyError
from pipeline.store.layout import Repository, open_store
from pipeline.store.locks import builder

VIEWS = (
    "SELECT view_name FROM duckdb_views() WHERE NOT internal AND database_name = current_database() AND schema_name = 'main'"
)
COOKBOOK = Path(__file__).parents[2] / "docs" / "sql-cookbook.md"
HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "ro")
if sys.argv[2] == "rw":
    connection.execute("CREATE OR REPLACE TABLE mine AS SELECT 1")
print(connection.execute("SELECT count(*) FROM chunks").fetchall(), flush=True)
sys.stdin.readline()
print(connection.execute("SELECT version FROM codeintel_catalog").fetchall(), flush=True)
"""


def repository_of(world: Any) -> Repository:
    return open_store(world.store).existing("demo")


@pytest.fixture
def repository(world: Any) -> Repository:
    return repository_of(world)


@contextmanager
def opened(path: Path, name: str = "mine") -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as somebody's own tool sees it who attached it under a name of theirs."""
    with closing(duckdb.connect(":memory:")) as connection:
        connection.execute(f"ATTACH {literal(str(path))} AS {name} (READ_ONLY)")
        connection.execute(f"USE {name}")
        yield connection


def leftovers(repository: Repository) -> list[str]:
    return [entry.name for entry in repository.path.iterdir() if entry.name.startswith((".tmp", "catalog.duckdb."))]


def tables_equal_views(connection: duckdb.DuckDBPyConnection) -> bool:
    for table, view in TABLES.items():
        for one, other in ((table, view), (view, table)):
            if connection.execute(f"FROM {one} EXCEPT ALL FROM {other}").fetchall():
                return False
    return True


def edit(world: Any, text: str = "def other_tide(): pass\n") -> str:
    (world.repo / "harbour/tides.py").write_text(text)
    version: str = world.build().json["version"]
    return version


def test_every_view_of_the_version_answers_the_same_from_the_file(repository: Repository, world: Any) -> None:
    done = write_views(repository)
    assert done.contents.version == world.version and done.status is None and done.path.parent == world.home
    with connect(world.published) as own, opened(done.path) as theirs:
        names = {name for (name,) in theirs.execute(VIEWS).fetchall()}
        assert names == {name for (name,) in own.execute(VIEWS.replace("current_database()", "'memory'")).fetchall()}
        assert names == set(done.views) and {"chunks", "faiss_idmap", "v_faiss_join", "losses"} <= names
        for name in sorted(names):
            columns = f"SELECT * FROM (DESCRIBE {name})"
            assert theirs.execute(columns).fetchall() == own.execute(columns).fetchall()
            count = f"SELECT count(*) FROM {name}"
            assert theirs.execute(count).fetchall() == own.execute(count).fetchall()
    assert leftovers(repository) == []


def test_the_file_is_no_part_of_a_version_and_troubles_nothing(repository: Repository, world: Any) -> None:
    materialize(repository)
    assert world("verify").code == 0 and world("versions").code == 0 and world("search", "tide").code == 0
    assert world.build().json["built"] == []
    assert not list(world.published.rglob("*.duckdb"))
    # A builder sweeps what others left; this is not of that kind.
    with builder(repository):
        pass
    assert repository.catalog.is_file()


@pytest.mark.parametrize("name", ["it's", 'quo"te', "a b [c] *", "x';DROP TABLE y;--"])
def test_the_store_may_lie_in_a_folder_of_any_name(world: Any, tmp_path: Path, name: str) -> None:
    moved = tmp_path / name / "store"
    shutil.copytree(world.store, moved)
    repository = open_store(moved).existing("demo")
    assert write_views(repository).contents.folder == str((repository.versions / world.version).resolve())
    done = materialize(repository)
    assert done.status == "created" and materialize(repository).status == "unchanged"
    with opened(done.path) as theirs:
        assert tables_equal_views(theirs)


def test_tables_hold_what_the_views_show_and_are_left_alone_while_nothing_changed(repository: Repository) -> None:
    first = materialize(repository)
    assert first.status == "created" and set(first.rows) == set(TABLES) and min(first.rows.values()) > 0
    before = repository.catalog.stat()
    again = materialize(repository)
    after = repository.catalog.stat()
    assert again.status == "unchanged" and again.rows == first.rows
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    with opened(repository.catalog) as theirs:
        assert tables_equal_views(theirs)
        assert theirs.execute(f"SELECT format, version, idmap FROM {META}").fetchall() == [
            (database.FORMAT, first.contents.version, first.contents.idmap)
        ]


def test_the_guard_is_the_digest_of_the_idmap_in_the_manifest(repository: Repository, world: Any) -> None:
    from pipeline.store.versions import read_manifest

    [stored] = read_manifest(world.published).artefacts["faiss_idmap"].files
    assert materialize(repository).contents.idmap == stored.digest


def test_views_keep_tables_that_were_asked_for_once(repository: Repository, world: Any) -> None:
    materialize(repository)
    edit(world)
    done = write_views(repository)
    assert done.contents.materialized and done.status == "refreshed"
    assert materialize(repository).status == "unchanged"


def test_a_new_idmap_refreshes_the_tables(repository: Repository, world: Any) -> None:
    old = materialize(repository)
    version = edit(world)
    contents = read_contents(repository)
    assert contents is not None and contents.version == old.contents.version
    done = materialize(repository)
    assert (done.status, done.contents.version) == ("refreshed", version) and done.contents.idmap != old.contents.idmap
    with opened(done.path) as theirs:
        assert tables_equal_views(theirs)


def test_chunks_that_moved_under_the_same_ids_refresh_the_tables(repository: Repository, world: Any) -> None:
    env = {"CODEINTEL_ID_STRATEGY": "sequence"}
    world.build(env=env)
    old = materialize(repository)
    (world.repo / "harbour/tides.py").write_text("\n\n" + (world.repo / "harbour/tides.py").read_text())
    world.build(env=env)
    done = materialize(repository)
    assert done.contents.idmap == old.contents.idmap and done.status == "refreshed"
    with opened(done.path) as theirs:
        assert tables_equal_views(theirs)


def test_another_version_of_equal_artefacts_moves_views_and_leaves_tables_unchanged(repository: Repository, world: Any) -> None:
    old = materialize(repository)
    assert world.build(env={"CODEINTEL_QUALITY_TOLERANCE": "0.5"}).json["built"] == ["manifest", "current"]
    done = materialize(repository)
    assert done.status == "unchanged" and done.contents.version == world.version != old.contents.version
    assert done.contents.folder == str(world.published.resolve())


def test_another_family_with_another_idmap_refreshes_the_tables(repository: Repository, world: Any) -> None:
    many = "".join(f"def tide_{number}(hours):\n    return hours + {number}\n\n\n" for number in range(150))
    (world.repo / "harbour/many.py").write_text(many)
    small = {"CODEINTEL_CHUNK_BUDGET": "64"}
    assert world.build(env=small).code == 0
    old = materialize(repository)
    assert world.build(env={**small, "CODEINTEL_FAISS_FAMILY": "ivf_flat", "CODEINTEL_NLIST": "2"}).code == 0
    point = world("status", "--json").json["repos"][0]["operating_point"]
    assert point["family"] == "ivf_flat"
    done = materialize(repository)
    assert done.status == "refreshed" and done.rows == old.rows and done.contents.chunks == old.contents.chunks
    with opened(done.path) as theirs:
        assert tables_equal_views(theirs)
        assert theirs.execute("SELECT count(*) FROM v_faiss_join_mat WHERE faiss_row IS NULL").fetchall() == [(0,)]


def test_tables_that_somebody_dropped_are_made_again(repository: Repository) -> None:
    materialize(repository)
    with closing(duckdb.connect(str(repository.catalog))) as theirs:
        theirs.execute("DROP TABLE v_faiss_join_mat")
    done = materialize(repository)
    assert done.status == "refreshed" and set(done.rows) == set(TABLES)
    with opened(done.path) as theirs:
        assert tables_equal_views(theirs)


def _foreign(path: Path) -> None:
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute("CREATE TABLE precious AS SELECT 42 AS answer")


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def _header(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[8:4000] = b"\xff" * 3992
    path.write_bytes(raw)


def _no_row(path: Path) -> None:
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(f"DELETE FROM {META}")


def _a_view_instead(path: Path) -> None:
    path.unlink()
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(f"CREATE VIEW {META} AS SELECT 1 AS format, '' AS repository, '' AS version")


SPOILT: dict[str, Callable[[Path], object]] = {
    "cut": _torn,
    "header": _header,
    "empty": lambda path: path.write_bytes(b""),
    "junk": lambda path: path.write_bytes(b"junk" * 5000),
    "sqlite": lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(4080)),
    "no row": _no_row,
    "view": _a_view_instead,
    "foreign": lambda path: (path.unlink(), _foreign(path)),
    "folder": lambda path: (path.unlink(), path.mkdir(), (path / "x").write_text("x")),
    "dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("make", [write_views, materialize])
@pytest.mark.parametrize("damage", SPOILT)
def test_what_is_damaged_or_not_ours_is_set_aside_and_told(repository: Repository, damage: str, make: Any) -> None:
    materialize(repository)
    SPOILT[damage](repository.catalog)
    with pytest.raises(CodeIntelError, match="indexctl idmap views"):
        read_contents(repository)
    done = make(repository)
    assert done.set_aside is not None and done.set_aside.parent == repository.path
    assert done.set_aside.is_symlink() or done.set_aside.exists()
    contents = read_contents(repository)
    assert contents == done.contents and make(repository).set_aside is None
    if damage == "foreign":
        with opened(done.set_aside) as theirs:
            assert theirs.execute("FROM precious").fetchall() == [(42,)]


def test_what_was_set_aside_is_never_written_over(repository: Repository) -> None:
    names = []
    for number in range(3):
        repository.catalog.write_text(f"junk {number}")
        aside = write_views(repository).set_aside
        assert aside is not None
        names.append(aside)
    assert [path.read_text() for path in names] == ["junk 0", "junk 1", "junk 2"]


def test_a_file_of_another_format_is_made_anew(repository: Repository) -> None:
    materialize(repository)
    with closing(duckdb.connect(str(repository.catalog))) as theirs:
        theirs.execute(f"UPDATE {META} SET format = {database.FORMAT + 1}")
    assert read_contents(repository) == Contents(database.FORMAT + 1, "", "", "", "", "")
    done = materialize(repository)
    assert done.set_aside is None and done.contents.format == database.FORMAT and read_contents(repository) == done.contents


@pytest.mark.parametrize("place", range(0, 10, 3))
def test_flipped_bytes_are_never_taken_for_another_version(repository: Repository, place: int) -> None:
    good = materialize(repository).contents
    raw = bytearray(repository.catalog.read_bytes())
    for at in range(place * len(raw) // 10, len(raw), len(raw) // 7):
        raw[at] ^= 0xFF
    repository.catalog.write_bytes(raw)
    write_views(repository)
    found = read_contents(repository)
    assert found is not None and (found.version, found.folder) == (good.version, good.folder)
    with opened(repository.catalog) as theirs:
        assert theirs.execute("SELECT count(*) FROM chunks").fetchall()[0][0] > 0


@contextmanager
def holder(path: Path, mode: str) -> Iterator[Callable[[], str]]:
    """Another process that has the file open; calling ends it and gives what it then read."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline().startswith("[(")

    def end() -> str:
        return process.communicate("\n", timeout=60)[0]

    try:
        yield end
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_readers_hinder_nothing_and_go_on_with_what_they_opened(repository: Repository, world: Any) -> None:
    old = materialize(repository).contents.version
    version = edit(world)
    with holder(repository.catalog, "ro") as end:
        assert materialize(repository).contents.version == version != old
        assert old in end()
    contents = read_contents(repository)
    assert contents is not None and contents.version == version


def test_a_file_that_another_program_may_write_is_busy_and_left_alone(
    repository: Repository, world: Any, indexctl: Callable[..., Any]
) -> None:
    materialize(repository)
    edit(world)
    before = repository.catalog.stat().st_ino
    with holder(repository.catalog, "rw") as end:
        for act in (write_views, materialize, read_contents):
            with pytest.raises(StoreBusyError, match="read-only"):
                act(repository)
        assert indexctl("idmap", "materialize", "--data", world.store).code == 4 and world("status").code == 0
        assert repository.catalog.stat().st_ino == before
        end()
    assert materialize(repository).status == "refreshed"


def test_a_file_that_this_process_writes_elsewhere_is_busy(repository: Repository) -> None:
    write_views(repository)
    with closing(duckdb.connect(str(repository.catalog))), pytest.raises(StoreBusyError):
        write_views(repository)


def test_the_log_of_a_program_that_died_does_not_spoil_the_new_file(repository: Repository) -> None:
    write_views(repository)
    with holder(repository.catalog, "rw"):
        pass  # Killed: it leaves its log.
    log = repository.catalog.with_name("catalog.duckdb.wal")
    assert log.exists()
    write_views(repository)
    assert not log.exists() and read_contents(repository) is not None
    log.write_bytes(b"of nobody")
    repository.catalog.unlink()
    write_views(repository)
    assert read_contents(repository) is not None and leftovers(repository) == []


def test_two_at_once_end_well_or_busy_and_leave_a_whole_file(repository: Repository, world: Any) -> None:
    command = [sys.executable, "-m", "pipeline.interfaces.main", "idmap", "materialize", "--data", str(world.store)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ended = [(process.communicate(timeout=120), process.returncode) for process in running]
    assert {code for _, code in ended} <= {0, 4} and 0 in {code for _, code in ended}, ended
    assert materialize(repository).status == "unchanged" and leftovers(repository) == []


def test_threads_at_once_end_well_or_busy(repository: Repository) -> None:
    def one(_: int) -> str:
        try:
            return str(materialize(repository).status)
        except StoreBusyError:
            return "busy"

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(one, range(8)))
    assert set(statuses) <= {"created", "unchanged", "busy"} and statuses.count("created") == 1
    assert materialize(repository).status == "unchanged" and leftovers(repository) == []


def test_the_commands_of_the_cookbook_answer(world: Any, indexctl: Callable[..., Any], tmp_path: Path) -> None:
    text = COOKBOOK.read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    for command, *queries in (block.strip().splitlines() for block in blocks):
        done = indexctl(*command.split()[1:], "--data", world.store, cwd=tmp_path)
        assert done.code == 0, done.err
        for query in queries:
            asked = re.fullmatch(r'duckdb (-readonly catalog\.duckdb )?-c "(.*)"', query)
            assert asked is not None, query
            place = str(world.home / "catalog.duckdb") if asked[1] else ":memory:"
            with closing(duckdb.connect(place, read_only=bool(asked[1]))) as connection:
                assert connection.execute(asked[2].replace("'idmap.csv'", literal(str(tmp_path / "idmap.csv")))).fetchall()


def test_while_somebody_builds_the_file_is_not_written(repository: Repository) -> None:
    with builder(repository), ThreadPoolExecutor(1) as pool, pytest.raises(StoreBusyError):
        pool.submit(write_views, repository).result()
    assert not repository.catalog.exists()


def test_a_full_disk_leaves_the_file_that_was_there(repository: Repository, world: Any) -> None:
    materialize(repository)
    edit(world)
    before = repository.catalog.read_bytes()
    command = [sys.executable, "-m", "pipeline.interfaces.main", "idmap", "materialize", "--data", str(world.store)]
    bound = len(before) // 4

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, bound))

    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_disk, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "cannot be written" in done.stderr and "unchanged" in done.stderr
    assert repository.catalog.read_bytes() == before and leftovers(repository) == []


def test_a_rename_that_fails_leaves_the_file_that_was_there(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    write_views(repository)
    before = repository.catalog.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.files.put_file", full)
    with pytest.raises(CodeIntelError, match="full"):
        write_views(repository)
    assert repository.catalog.read_bytes() == before and leftovers(repository) == []


def test_too_little_memory_says_which_setting_to_raise(repository: Repository) -> None:
    write_views(repository)
    before = repository.catalog.read_bytes()
    with pytest.raises(QueryError, match="duckdb_memory_limit"):
        materialize(repository, SearchSettings(duckdb_memory_limit="1MB", duckdb_threads=1))
    assert repository.catalog.read_bytes() == before


def test_a_repository_without_a_published_version_has_no_catalog(repository: Repository) -> None:
    (repository.path / "CURRENT").unlink()
    with pytest.raises(NotFoundError, match="indexctl build"):
        write_views(repository)
    assert not repository.catalog.exists()


def test_a_damaged_version_is_refused_and_the_old_file_stays(repository: Repository, world: Any) -> None:
    write_views(repository)
    before = repository.catalog.read_bytes()
    target = world.published / "faiss_idmap.parquet"
    raw = target.read_bytes()
    target.unlink()
    target.write_bytes(raw[:-9])
    with pytest.raises(CodeIntelError, match="damaged"):
        materialize(repository)
    assert repository.catalog.read_bytes() == before
