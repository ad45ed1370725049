"""Whatever is written is written by `pipeline/files.py`, or in a folder that nobody sees yet.

The list below is what there is besides, each with the reason why it may be: a new place that writes has to be moved or listed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_MODULES = frozenset({"os", "shutil", "tempfile", "np", "pq", "faiss", "files"})
_OF_MODULES = {
    "os": "rename replace renames link unlink remove mkdir makedirs rmdir symlink truncate ftruncate write pwrite".split(),
    "shutil": "copy copy2 copyfile copyfileobj copytree move rmtree".split(),
    "tempfile": "mkdtemp mkstemp TemporaryDirectory NamedTemporaryFile TemporaryFile".split(),
}
_OF_PATHS = frozenset("write_bytes write_text touch symlink_to hardlink_to link_to mkdir rename unlink rmdir".split())
_OF_LIBRARIES = frozenset(
    "save savez tofile save_array write_table ParquetWriter open_memmap write_index write_feather".split()
)


def writes(tree: ast.AST) -> Iterator[str]:
    """Names of the calls that may change a file system."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
        of = function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
        flags = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
        modes = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if name in _OF_MODULES.get(of, ()):
            yield f"{of}.{name}"
        elif of == "os" and name == "open" and flags & {"O_CREAT", "O_WRONLY", "O_RDWR"}:
            yield "os.open"
        elif name == "open" and any(len(mode) < 4 and set(mode) & set("wxa+") for mode in modes):
            yield "open"
        elif name in _OF_LIBRARIES or (name in _OF_PATHS and of not in _MODULES):
            yield name
        elif name == "replace" and of not in {"dataclasses", "structs"} and len(node.args) == 1 and not node.keywords:
            yield "replace"


def found() -> dict[str, set[str]]:
    places: dict[str, set[str]] = {}
    for folder in ("pipeline", "assets", "resources", "sensors"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if calls := set(writes(ast.parse(path.read_text("utf-8")))):
                places[path.relative_to(ROOT).as_posix()] = calls
    return places


OUTPUTS = frozenset(
    {
        "pipeline/chunks/listing.py",
        "pipeline/delta.py",
        "pipeline/embed/arrays.py",
        "pipeline/embed/stage.py",
        "pipeline/evaluation/cover/answered.py",
        "pipeline/evaluation/coverage_stage.py",
        "pipeline/evaluation/metrics_stage.py",
        "pipeline/evaluation/queries.py",
        "pipeline/index/chunk_files.py",
        "pipeline/index/dense/index_files.py",
        "pipeline/index/dense/shards.py",
        "pipeline/index/lexical_segments.py",
        "pipeline/index/lexical_stage.py",
        "pipeline/index/splade/index_files.py",
        "pipeline/index/tuning/stage.py",
        "pipeline/index/xtr/building.py",
        "pipeline/index/xtr/description.py",
        "pipeline/release/manifest.py",
        "pipeline/source/listing.py",
        "pipeline/structure/cst/parts.py",
        "pipeline/structure/modules/lines.py",
        "pipeline/structure/scip/frames.py",
        "pipeline/structure/scip/outcomes.py",
        "pipeline/structure/scip/part_jobs.py",
        "pipeline/structure/scip/part_names.py",
        "pipeline/structure/scip/stage.py",
        "pipeline/structure/scip/tables_stage.py",
        "pipeline/tables.py",
    }
)
"""They write into the folder that a stage was given, which `store.objects` commits whole."""

ELSEWHERE = {
    "pipeline/files.py": "the protocol itself",
    "pipeline/npy.py": "an array, where whoever calls it may write",
    "pipeline/catalog/database.py": "makes a file in a temporary folder and puts it; what is in its way is renamed aside",
    "pipeline/catalog/idmap_export.py": "copies into a temporary file, where the person says, and puts it",
    "pipeline/embed/cache.py": "inside of a commit; a damaged or merged segment is renamed aside",
    "pipeline/index/xtr/encodings.py": "inside of a commit; old segments are renamed aside",
    "pipeline/structure/cst/part_cache.py": "inside of a commit; old parts are renamed aside",
    "pipeline/evaluation/staged.py": "a folder of links in the system's temporary folder",
    "pipeline/evaluation/twin.py": "an index in the system's temporary folder, which nobody else opens",
    "pipeline/index/lexical.py": "a folder of links in the system's temporary folder, because opening makes lock files",
    "pipeline/structure/scip/indexers.py": "the scratch copy that an indexer is given",
    "pipeline/structure/scip/scratch.py": "making and removing that",
    "pipeline/interfaces/commands_build.py": "an empty folder for a plan without a store",
    "pipeline/interfaces/run.py": "appends to a log of the process that reports to Dagster",
    "pipeline/interfaces/main.py": "opens the null device",
    "pipeline/index/tuning/locked_point.py": "removes one file",
    "pipeline/index/dense/updates.py": "links in a scratch copy of an index, which nobody else opens",
    "pipeline/registration.py": "makes the folder of a new repository and a lock file in it; renames what goes",
    "pipeline/source/remotes.py": "makes the folder of a mirror, which libgit2 writes",
    "pipeline/release/collection.py": "renames what goes before its files go",
    "pipeline/release/publication.py": "inside of the commit of a version",
    "pipeline/release/rederivation.py": "a sample that is made again in the system's temporary folder",
    "pipeline/store/unreported.py": "removes what was reported",
    "assets/reported.py": "the same, and a lock file in Dagster's folder",
    "pipeline/store/layout.py": "makes the folder of the store",
    "pipeline/store/locks.py": "the lock file: what is in it is a courtesy",
    "pipeline/store/objects.py": "a damaged object is renamed aside",
    "pipeline/store/settling.py": "inside of the commit of an object",
    "pipeline/store/traces.py": "a switch is removed; sets are renamed before their files go",
}


UNCHECKED = {"save", "savez", "tofile", "open_memmap"}
"""Of numpy: they do not tell when the last bytes cannot be written, and a map dies of a full disk (see `pipeline/npy.py`)."""


def test_nothing_writes_arrays_but_what_tells_of_failure() -> None:
    assert not {path: sorted(calls & UNCHECKED) for path, calls in found().items() if calls & UNCHECKED}


def test_every_place_that_writes_is_known_and_why_it_may() -> None:
    unknown = {path: sorted(calls) for path, calls in found().items() if path not in OUTPUTS and path not in ELSEWHERE}
    assert not unknown, f"let `pipeline/files.py` write, or say here why not: {unknown}"


def test_the_list_names_only_places_that_write() -> None:
    assert not (OUTPUTS | set(ELSEWHERE)) - set(found())


def test_calls_that_write_are_recognised() -> None:
    code = """
from pathlib import Path
path.write_text(""); Path("a").open("w"); open("a", "ab"); path.open("rb"); open("b"); os.replace(a, b); text.replace("a", "b")
path.replace(other); np.save(path, array); shutil.rmtree(path); os.open(path, os.O_RDWR | os.O_CREAT)
os.open(path, os.O_RDONLY); dataclasses.replace(one, two=2); files.write_file(path, b""); tempfile.mkdtemp()
"""
    expected = ["write_text", "open", "open", "os.replace", "replace", "save", "shutil.rmtree", "os.open", "tempfile.mkdtemp"]
    assert sorted(writes(ast.parse(code))) == sorted(expected)
