"""What checks are made of: what they look at, what they find, and what several of them ask of tables.

Belongs here: what `checks` and the modules beside it share. Not here: any invariant.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import __version__, files, tables
from pipeline.columns import codes_of
from pipeline.index.dense.description import read_meta
from pipeline.index.dense.vectors import VectorIndex
from pipeline.schemas import Chunks, Embeddings, FaissIndex, Files, Table
from pipeline.store import readings

Roots = Mapping[str, Path]
"""Asset -> the folder that holds its files."""

MOST_PROBLEMS = 20
SAMPLE = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check: it passed when there are no problems. `facts` are what was looked at."""

    problems: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def finding(problems: Iterator[str] | list[str], **facts: Any) -> Finding:
    found = tuple(problem for problem, _ in zip(problems, range(MOST_PROBLEMS), strict=False))
    return Finding(found, facts)


class Subject:
    """What checks look at: the folder of each asset, and where they are known the digests of the files in it.

    With digests, what is known of the same bytes (`store.readings`) is not read again; `verify` comes without.
    """

    def __init__(self, roots: Roots, digests: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """`digests`: asset -> relative path -> digest, which the caller has verified."""
        self.roots, self._digests = roots, digests
        self._parts: dict[type[Table], list[Path]] = {}
        self._digests_of_parts: dict[type[Table], list[str | None]] = {}

    def __getitem__(self, asset: str) -> Path:
        return self.roots[asset]

    def digests(self, assets: Sequence[str]) -> list[str] | None:
        """Of all files of these assets; None where one is not known."""
        if self._digests is None or any(asset not in self._digests for asset in assets):
            return None
        return [word for asset in assets for pair in self._digests[asset].items() for word in pair]

    def digests_of(self, *files: tuple[str, str]) -> list[str] | None:
        """Of these files, each by its asset and its relative path; None where one is not known."""
        if self._digests is None:
            return None
        found = [self._digests.get(asset, {}).get(path) for asset, path in files]
        return [one for one in found if one is not None] if None not in found else None

    def parts(self, kind: type[Table]) -> list[Path]:
        """The parts of a table, in order. Raises `IndexCorruptionError` when there is none."""
        if kind not in self._parts:
            self._parts[kind] = tables.parts(self[kind.asset], kind)
        return self._parts[kind]

    def digests_of_parts(self, kind: type[Table]) -> list[str | None]:
        """Of each part of a table, None where it is not known. Raises what `parts` does."""
        if kind not in self._digests_of_parts:
            known = (self._digests or {}).get(kind.asset, {})
            self._digests_of_parts[kind] = [known.get(f"{kind.name}/{path.name}") for path in self.parts(kind)]
        return self._digests_of_parts[kind]

    def of_parts(self, kind: type[Table], read: Callable[[Path], Any]) -> list[Any]:
        """What `read` makes of each part of a table, remembered where its digest is known."""
        name = name_of(read)
        return [
            readings.reading(name, None if digest is None else [digest], functools.partial(read, path))
            for path, digest in zip(self.parts(kind), self.digests_of_parts(kind), strict=True)
        ]

    @cached_property
    def chunk_ids(self) -> Any:
        """Ids of all chunks in the order of the table, int64 [n]."""
        return np.concatenate([np.frombuffer(ids, np.int64) for ids in self.of_parts(Chunks, _ids_of)])

    @cached_property
    def vector_ids(self) -> Any:
        """`ids.npy`, int64 [n]."""
        return np.load(self[Embeddings.asset] / Embeddings.IDS)

    @cached_property
    def index(self) -> VectorIndex:
        """The FAISS index, opened once, with the vectors where they are among the assets."""
        root = self[FaissIndex.asset]
        # Where the description says the digests that were verified already, nothing needs to be read for them.
        known = {path: facts.digest for path, facts in read_meta(root).files.items()}
        verified = known.items() <= (self._digests or {}).get(FaissIndex.asset, {}).items()
        return VectorIndex.open(root, vectors=self.roots.get(Embeddings.asset), verified=verified)


def _ids_of(path: Path) -> bytes:
    return bytes(tables.read_part(path, Chunks, ["id"])["id"].to_numpy().astype(np.int64).tobytes())


@functools.cache
def _code_of(file: str) -> str:
    try:
        return files.digest_file(Path(file))
    except OSError:
        return ""


@functools.cache
def name_of(function: Callable[..., Any]) -> str:
    """A function with the code of its module: what it found may be believed as long as both are the same."""
    code = f"{__version__} {_code_of(__file__)} {_code_of(inspect.getfile(function))}"
    return f"{function.__module__}.{function.__qualname__} {code}"


@dataclass(eq=False)
class ByPart:
    """A check of tables that are cut alike, part by part: what `look` finds of a part is a function of its files alone.

    Facts of parts are counts, which are summed; or `join` makes the finding of them.
    """

    look: Callable[..., Finding]
    kinds: tuple[type[Table], ...]
    join: Callable[[Subject, Sequence[Mapping[str, Any]]], Finding] | None = None

    def __call__(self, subject: Subject) -> Finding:
        problems: list[str] = []
        told: list[Mapping[str, Any]] = []
        of_kinds = (zip(*(subject.parts(kind) for kind in self.kinds), strict=True),
                    zip(*(subject.digests_of_parts(kind) for kind in self.kinds), strict=True))  # fmt: skip
        for paths, digests in zip(*of_kinds, strict=True):
            found = self._find(paths, digests)
            problems.extend(found.problems)
            told.append(found.facts)
        if self.join is not None:
            joined = self.join(subject, told)
            return Finding((*problems, *joined.problems)[:MOST_PROBLEMS], joined.facts)
        return finding(problems, **{name: sum(facts[name] for facts in told) for name in told[0]})

    def _find(self, paths: Sequence[Path], digests: Sequence[str | None]) -> Finding:
        known = [digest for digest in digests if digest is not None]
        if len(known) < len(paths):
            return self.look(*paths)
        key = readings.key_of(name_of(self.look), known)
        if (passed := readings.known(key)) is not None:
            return Finding((), passed)
        found = self.look(*paths)
        # A problem may be the disk's or the memory's, and gone the next time.
        if found.passed:
            readings.note(key, found.facts)
        return found


def by_part(
    *kinds: type[Table], join: Callable[[Subject, Sequence[Mapping[str, Any]]], Finding] | None = None
) -> Callable[[Callable[..., Finding]], ByPart]:
    """Make a check of whole tables of a function that looks at one part of each of them."""

    def make(look: Callable[..., Finding]) -> ByPart:
        check = ByPart(look, kinds, join)
        functools.update_wrapper(check, look)
        return check

    return make


def file_sizes(files_path: Path) -> dict[str, int]:
    listed = tables.read_part(files_path, Files, ["uri", "size", "status"])
    listed = listed.filter(pc.equal(listed["status"], "indexed"))
    return dict(zip(listed["uri"].to_pylist(), listed["size"].to_pylist(), strict=True))


def outside(table: pa.Table, sizes: Mapping[str, int], what: str) -> Iterator[str]:
    """Files whose spans leave the file, or run backwards."""
    if table.num_rows == 0:
        return
    # A million nodes have a thousand uris: they are compared by number, run by run.
    codes, uris = codes_of(table["uri"])
    starts, ends = table["start_byte"].to_numpy(), table["end_byte"].to_numpy()
    if (ends < starts).any():
        yield f"{uris[int(codes[np.argmax(ends < starts)])].as_py()}: a {what} ends before it starts"
    runs = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    lowest, highest = np.minimum.reduceat(starts, runs), np.maximum.reduceat(ends, runs)
    for code, low, high in zip(codes[runs].tolist(), lowest.tolist(), highest.tolist(), strict=True):
        uri = uris[code].as_py()
        if low < 0 or high > sizes.get(uri, -1):
            yield f"{uri}: a {what} lies outside the file"


def sample_rows(count: int, most: int = SAMPLE) -> Any:
    """Row numbers of an even sample, int64, the first and the last row among them."""
    return np.unique(np.linspace(0, count - 1, most).astype(np.int64)) if count else np.empty(0, np.int64)
