"""Files of a store changed behind its back, one at a time, and what readers and builders make of it.

A script: `damage.py FOLDER read|build FIRST COUNT` prints one JSON line for each mutation from number FIRST on; a number always
means the same mutation. Readers are asked on one copy that is mended after each mutation, as a server would meet them; a build,
of a commit that is not indexed yet, gets a copy of its own. Both in forked children with bounds on time and memory.

Not a test module: `test_damage.py` starts it.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crashes
import engine

from pipeline import files
from pipeline.catalog import symbol_table
from pipeline.catalog.lookup import find_symbols
from pipeline.catalog.views import connect
from pipeline.config import Settings
from pipeline.embed import registry
from pipeline.errors import CodeIntelError
from pipeline.release.verification import verify_folder
from pipeline.search.engine import open_searcher
from pipeline.stages import STAGES
from pipeline.store import versions
from pipeline.store.layout import Repository
from pipeline.store.versions import open_version

PATIENCE = 120
"""Seconds for one mutation, on a machine that does other things, too."""
ROOM = 3 << 30
"""Bytes of address space beyond what the process has before it opens anything; threads and mapped files count."""
KINDS = ("flip", "cut", "grow", "zeros", "noise", "swap", "other", "empty", "gone", "folder", "link", "dangling")


def of_kind(path: str) -> str:
    """Which kind of file this is: names that are keys, digests or numbers do not matter."""
    return _NAMED.sub("*", path)


_NAMED = re.compile(r"(seg-|v-)?[0-9a-f]{16,}|\d+")


def targets(store: Path, concerns: Callable[[str], bool]) -> list[tuple[str, list[str]]]:
    """Every kind of file with the files of it."""
    found: dict[str, list[str]] = {}
    for path in sorted(store.rglob("*")):
        relative = path.relative_to(store).as_posix()
        if path.is_file() and path.name not in (".gitignore", "builder.lock") and concerns(relative):
            found.setdefault(of_kind(relative), []).append(relative)
    return sorted(found.items())


class Mutation:
    """Number n: which file, and what becomes of it."""

    def __init__(self, number: int, kinds: list[tuple[str, list[str]]]) -> None:
        self.random = random.Random(number)
        self.what, paths = kinds[number % len(kinds)]
        self.how = KINDS[(number + number // len(kinds)) % len(KINDS)]
        self.path = self.random.choice(paths)
        self.other = self.random.choice([path for _, paths in kinds for path in paths if path != self.path])

    def apply(self, store: Path) -> bool:
        """Put something else in the file's place; never write into it, because other names of it are other files.

        Returns whether it is something else: zeros may take the place of zeros.
        """
        path, other = store / self.path, store / self.other
        data, stranger = path.read_bytes(), other.read_bytes()
        path.unlink()
        match self.how:
            case "gone":
                pass
            case "folder":
                path.mkdir()
            case "link":
                path.symlink_to(other)
            case "dangling":
                path.symlink_to(store / "nowhere")
            case "swap":
                other.unlink()
                path.write_bytes(stranger)
                other.write_bytes(data)
            case "other":
                path.write_bytes(stranger)
            case _:
                path.write_bytes(self._bytes(data))
        return path.is_symlink() or not path.is_file() or path.read_bytes() != data

    def _bytes(self, data: bytes) -> bytes:
        changed, size = bytearray(data), len(data)
        match self.how:
            case "empty":
                return b""
            case "cut":
                return data[: self.random.randrange(size) if size else 0]
            case "grow":
                return data + self.random.randbytes(self.random.choice((1, 8, 4096)))
            case "noise":
                return self.random.randbytes(size)
            case "zeros" if size:
                start = self.random.randrange(size)
                length = min(size - start, self.random.choice((1, 64, 4096)))
                changed[start : start + length] = bytes(length)
            case "flip" if size:
                changed[self.random.randrange(size)] ^= 1 << self.random.randrange(8)
        return bytes(changed)


def searched(repository: Repository) -> Any:
    """What a search answers, and which channels told that they are broken."""
    with open_searcher(repository, Settings()) as searcher:
        given = [searcher.answer(query, 5) for query in crashes.QUERIES]
        broken = sorted(
            {name for answer in given for name, one in answer.channels.items() if one.as_json()["state"] == "broken"}
        )
        hits = [
            [(hit.id, hit.uri, hit.start_line, hit.preview, round(hit.score, 5)) for hit in answer.hits] for answer in given
        ]
        return {"broken": broken} if broken else {"version": searcher.version.name, "hits": hits}


def counted(repository: Repository) -> Any:
    """Rows of every table and a digest of their content, by SQL over a version whose files were digested first."""
    with open_version(repository) as version:
        folder = version.ensure(*version.manifest.artefacts)
        with connect(folder, memory_limit="512MB", threads=1) as connection:
            tables = [table for artefact in version.manifest.artefacts.values() for table in artefact.rows]
            query = "SELECT count(*), sum(hash(t)::HUGEINT)::VARCHAR FROM {} t"
            return [[table, *connection.execute(query.format(f'"{table}"')).fetchone()] for table in tables]


def symbols(repository: Repository) -> Any:
    """What a question about a symbol finds."""
    with open_version(repository) as version:
        version.ensure(*(asset for asset in _SYMBOLS if asset in version.manifest.artefacts))
        table = symbol_table.read_symbols(version.path)
        return [int(number) for number in find_symbols(table, "find_berth")]


_SYMBOLS = ("scip_occurrences", "scip_symbols", "symbol_edges", "definitions", "source_snapshot", "chunks")


def verified(repository: Repository) -> Any:
    """What verification finds."""
    folder = repository.versions / str(versions.current_name(repository))
    return [problem.problem for problem in verify_folder(folder).problems]


READERS = {"search": searched, "sql": counted, "symbols": symbols, "verify": verified}


def built(store: Path, root: Path) -> Any:
    """What a build comes to: the version, and the digest of everything in it."""
    name = engine.build(store, root)
    manifest = versions.read_manifest(engine.repository_in(store).versions / name)
    return [name, {asset: [[one.path, one.digest] for one in made.files] for asset, made in manifest.artefacts.items()}]


def ask(question: Callable[[], Any]) -> Any:
    """The answer, or the error that says why there is none."""
    try:
        return {"answer": json.loads(json.dumps(question()))}
    except CodeIntelError as error:
        return {"refused": type(error).__name__, "message": str(error), "code": error.exit_code}
    except BaseException:
        return {"crashed": traceback.format_exc()[-3000:]}


class Trial:
    """A store, the answers that it gives undamaged, and a place for copies."""

    def __init__(self, folder: Path, asked: str) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.root = folder / "repo"
        self.prepared = folder / "prepared"
        self.builds = asked == "build"
        folder.mkdir(parents=True)
        engine.write_repository(self.root)
        for work in (self._prepare, self._warm):
            code, _ = crashes.in_child(work, self.log)
            if code:
                raise SystemExit(self.log.read_text())
        self.published = str(versions.current_name(engine.repository_in(self.prepared)))
        self.kinds = targets(self.prepared, self._concerns)
        self.expected: dict[str, Any] = crashes.in_child(self._undamaged, self.log)[1]

    def _prepare(self) -> None:
        engine.build(self.prepared, self.root)
        engine.edit(self.root, 1)
        engine.build(self.prepared, self.root)

    def _warm(self) -> None:
        repository = engine.repository_in(self.prepared)
        for question in READERS.values():
            question(repository)
        # Not indexed yet: what a build that meets damage has to do.
        engine.edit(self.root, 2)

    def _concerns(self, path: str) -> bool:
        """Whether readers, or else builders, look at a file: an older version and objects are nothing to readers."""
        beside = not any(
            f"/{folder}/" in f"/{path}" for folder in ("objects", "versions", "_shared", "refs", "bases", "observed")
        )
        return beside or (f"/versions/{self.published}/" in path) != self.builds

    def _undamaged(self) -> dict[str, Any]:
        store = self.folder / "undamaged"
        crashes.copy_store(self.prepared, store)
        said = self._asked(store)
        shutil.rmtree(store)
        return said

    def _asked(self, store: Path) -> dict[str, Any]:
        if self.builds:
            return {"build": ask(lambda: built(store, self.root)), "after": ask(lambda: verified(engine.repository_in(store)))}
        return {
            name: ask(lambda question=question: question(engine.repository_in(store))) for name, question in READERS.items()
        }

    def go(self, first: int, count: int) -> None:
        """Mutations `first` to `first + count`; after one that ends the process, another one goes on."""
        number = first
        while number < first + count:
            code, _ = crashes.in_child(lambda number=number: self._meet(number, first + count), self.log)
            done = [json.loads(line) for line in (self.folder / "done").read_text().splitlines()]
            for line in done:
                print(json.dumps(line), flush=True)
            number += len(done)
            if code:
                wrong = [f"ended with {code}: {self.log.read_text()[-2000:]}"]
                print(json.dumps(self._line(number, {}) | {"wrong": wrong}), flush=True)
                number += 1

    def _meet(self, number: int, end: int) -> None:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, now + ROOM))
        store = self.folder / f"store{number}"
        with (self.folder / "done").open("w") as done:
            for one in range(number, end):
                signal.alarm(PATIENCE)
                if self.builds or not store.exists():
                    store = self.folder / f"store{one}"
                    crashes.copy_store(self.prepared, store)
                mutation = Mutation(one, self.kinds)
                changed = mutation.apply(store)
                done.write(json.dumps(self._line(one, self._asked(store), changed=changed)) + "\n")
                done.flush()
                if self.builds:
                    shutil.rmtree(store)
                else:
                    mend(self.prepared, store, [mutation.path, mutation.other])

    def _line(self, number: int, said: dict[str, Any], *, changed: bool = True) -> dict[str, Any]:
        mutation = Mutation(number, self.kinds)
        told = {name: given.get("refused") or next(iter(given)) for name, given in said.items()}
        return {"number": number, "what": mutation.what, "how": mutation.how, "path": mutation.path, "told": told,
                "wrong": self._judge(mutation, said, changed=changed)}  # fmt: skip

    def _judge(self, mutation: Mutation, said: dict[str, Any], *, changed: bool) -> list[str]:
        """What is wrong with how damage was met."""
        wrong = []
        for name, given in said.items():
            if "crashed" in given:
                wrong.append(f"{name} crashed: {given['crashed']}")
            elif "refused" in given and (given["code"] not in (1, 3) or not given["message"].endswith(".")):
                wrong.append(f"{name} was refused without a way out: {given}")
            elif name == "build" and "answer" in given and self._historic(mutation):
                # What was built on something damaged is built on something else: the rest is what it would have been.
                wrong += [f"{asset} is not what it was" for asset in PURE if not self._same(given, asset)]
            elif "answer" in given and given != self.expected[name]:
                told = name == "verify" or (isinstance(given["answer"], dict) and "broken" in given["answer"])
                if not told:
                    wrong.append(f"{name} answered something else: {str(given['answer'])[:1000]}")
            elif name in ("build", "after") and "refused" in given and mutation.path not in _ABOVE:
                wrong.append(f"the next build does not mend it: {given}")
        inside = f"/versions/{self.published}/" in mutation.path and not mutation.path.endswith("build.json")
        if changed and inside and said.get("verify") == self.expected.get("verify"):
            wrong.append("verification found nothing")
        return wrong

    def _historic(self, mutation: Mutation) -> bool:
        """Whether it may have hit a result that others are built on, or what is remembered of that."""
        hit = [mutation.path, *([mutation.other] if mutation.how == "swap" else [])]
        folders = [f"/{folder}/{asset}" for folder in ("objects", "bases", "refs") for asset in _every_asset() - set(PURE)]
        return any(folder in path for folder in folders for path in hit)

    def _same(self, given: dict[str, Any], asset: str) -> bool:
        return bool(given["answer"][1][asset] == self.expected["build"]["answer"][1][asset])


def _every_asset() -> set[str]:
    return {kind.asset for stage in STAGES for kind in stage.outputs.values()}


def _pure() -> list[str]:
    """Assets that depend on no earlier build."""
    historic: set[str] = {"manifest"}
    for stage in STAGES:
        if stage.bases or historic & {kind.asset for kind in stage.inputs.values()}:
            historic |= {kind.asset for kind in stage.outputs.values()}
    return sorted(_every_asset() - historic)


PURE = _pure()


_ABOVE = ("store.json", f"{engine.NAME}/repository.json")
"""What a build does not replace, because nobody knows whose folder it is then."""


def mend(prepared: Path, store: Path, paths: list[str]) -> None:
    """Put back what was damaged, and what readers may have remembered."""
    for path in {*paths, *(one.relative_to(prepared).as_posix() for one in (prepared / engine.NAME / "verified").iterdir())}:
        files.remove(store / path)
        os.link(prepared / path, store / path)


def main(folder: Path, asked: str, first: int, count: int) -> None:
    """Mutations `first` to `first + count`, met by readers or by a build."""
    os.environ.update(engine.ENVIRONMENT)
    registry.load(Settings().embed)
    Trial(folder, asked).go(first, count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:5]))
