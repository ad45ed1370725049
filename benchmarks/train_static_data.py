"""What the static table learns from: descriptions and the code that they describe, of pinned packages from their registries.

    .venv/bin/python benchmarks/train_static_data.py [--work DIR] [--jobs 1]

`train_static.toml` lists the packages. Each is downloaded and cut into chunks as a build would cut it, but with the
documentation of definitions taken out. A pair is the first paragraph of a definition's documentation and the chunk that holds
the first byte of its name. Only a sample of each package's files is read, drawn by a hash of their paths.

Belongs here: downloads, and from archives to pairs. Not here: learning (`train_static`).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import corpus
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import environment
from numpy.typing import NDArray

from pipeline.chunks import labels
from pipeline.chunks.cast import SyntaxNodes, is_leading, pack_tree
from pipeline.chunks.contents import text_slices
from pipeline.chunks.labels import FileDefinitions
from pipeline.chunks.packing import layout
from pipeline.config import ChunkSettings
from pipeline.embed.interface import document_text
from pipeline.source.languages import language_of
from pipeline.structure.definitions import Columns, definitions
from pipeline.structure.syntax import Nodes, parse, walk, words

LIST = Path(__file__).with_name("train_static.toml")
FORMAT = 1
"""Rises when pairs are made differently."""
MOST_PAIRS = 700
"""Of one package, so that none is the teacher."""
_MOST_READ = 4_000_000
"""Bytes of a package's files, so that one with few descriptions does not take an hour."""
_MOST_BYTES = 200_000
_LONGEST_LINE = 400
"""Average bytes of a line beyond which a file is generated or minified."""
_SHORTEST, _LONGEST = 4, 80
"""Words of a description."""
_CLIENT = "unearth==0.19.0"
"""Downloads source archives without running them, which pip's `download` does."""
_LEFT_OUT = re.compile(
    r"(^|/)(tests?|testing|__tests__|specs?|examples?|_?vendor(ed|s)?|third[-_]?party\w*|3rdparty|externs?|externals?|deps"
    r"|node_modules|site-packages|subprojects|bundled|generated|cjs|umd|umd_modules|abseil-cpp|absl|fmt|libuv|curl|zig|redux|axios"
    r"|nlohmann|msgpack-c)(/|$)|(^|/)(test_[^/]*|[^/]*_test|conftest)\.\w+$|\.(min|spec|test|d)\.\w+$|\.pyi$"
)
_TAG = re.compile(
    r"^\s*(@(?!brief|description|summary)\w|:\w+|\\(?!brief)\w|(Args|Arguments|Parameters|Returns|Examples?|Raises)\s*:?\s*$)"
)
_MARKUP = re.compile(r"\{@\w+\s+|<[^<>\n]{1,60}>|[@\\](brief|description|summary)\b|:\w+:(?=`)")
_NO_DESCRIPTION = re.compile(
    r"copyright|licen[sc]e|todo|fixme|eslint|prettier|noqa|pylint|istanbul|ts-ignore|@internal|see (also )?(:|the)?"
    r"|clang-format|auto-?generated|nolint|#|=|-{3}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Package:
    """A row of the list: where it comes from, as what (`wheel`, `sdist`, `npm`), its licence, and what it is for."""

    name: str
    version: str
    kind: str
    licence: str
    held_out: bool

    @property
    def key(self) -> str:
        """A file name."""
        return f"{self.kind}-{self.name.replace('/', '~')}-{self.version}"


def read_list() -> dict:
    """`train_static.toml` as it stands."""
    with LIST.open("rb") as file:
        return tomllib.load(file)


def packages() -> list[Package]:
    """The list, in order."""
    listed = read_list()
    held_out = set(listed["held_out"])
    return [
        Package(*entry.rpartition("==")[::2], kind, licence, f"{kind}:{entry.rpartition('==')[0]}" in held_out)
        for kind in ("wheel", "sdist", "npm")
        for licence, entries in listed[kind].items()
        for entry in entries
    ]


def archive(work: Path, package: Package) -> Path:
    """The package's archive, downloaded once by its registry's client."""
    folder = work / "training" / "archives" / package.key
    found = [path for path in folder.glob("*") if path.name.endswith((".whl", ".tgz", ".tar.gz", ".zip"))]
    if found:
        return found[0]
    folder.mkdir(parents=True, exist_ok=True)
    if package.kind == "npm":
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
        command.append(f"{package.name}@{package.version}")
    else:
        client = corpus.environment_with(work, "unearth", _CLIENT).with_name("unearth")
        only = "--only-binary" if package.kind == "wheel" else "--no-binary"
        command = [
            str(client),
            f"{package.name}=={package.version}",
            only,
            "--python-version",
            "3.13",
            "--download",
            str(folder),
        ]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return archive(work, package)


def sources(path: Path) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of the files of an archive that may be learnt from, in the order of a hash of their paths."""
    if path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as opened:
            chosen = {info.filename: info for info in opened.infolist() if info.file_size <= _MOST_BYTES}
            for name in _in_order(chosen):
                yield name, opened.read(chosen[name])
        return
    with tarfile.open(path) as opened:
        members = {info.name: info for info in opened.getmembers() if info.isfile() and info.size <= _MOST_BYTES}
        for name in _in_order(members):
            file = opened.extractfile(members[name])
            if file is not None:
                # The folder around everything is named after the package and its version.
                yield name.partition("/")[2], file.read()


def _in_order(names: dict) -> list[str]:
    kept = [name for name in names if language_of(name).definitions and not _LEFT_OUT.search(name)]
    return sorted(kept, key=lambda name: blake2b(name.encode(), digest_size=8).digest())


@dataclass(frozen=True, slots=True)
class Pair:
    """A description, the qualified name of what it describes, and the chunk that holds it: its row in the file's chunks."""

    query: str
    name: str
    chunk: int


def pairs_of(uri: str, content: bytes) -> tuple[list[str], list[Pair]]:
    """The texts of a file's chunks, documentation taken out, as they would be embedded; and the pairs."""
    lang = language_of(uri, content[:4096]).name
    if content.count(b"\n") * _LONGEST_LINE < len(content):
        return [], []
    tree = parse(content, lang)
    if tree is None:
        return [], []
    nodes = walk(tree)
    found = definitions(content, tree, nodes, lang)
    if not any(found.doc):
        return [], []
    # Nothing moves, so that the tree is as good for what is left as its own would be.
    bare = without_documentation(content, lang, nodes, found)
    start, end = np.array(found.start_byte, np.int32), np.array(found.end_byte, np.int32)
    lines = layout(bare)
    names = words(lang)
    kinds = names.type_ids(nodes.kind)
    leads = np.array([is_leading(name) for name in names.types], np.bool_)[kinds]
    syntax = SyntaxNodes(nodes.start, nodes.end, nodes.depth, names.named[kinds], leads)
    edges = pack_tree(lines, syntax, start, end, ChunkSettings().chunk_budget)
    rows = FileDefinitions(found.qualified_name, found.kind, start, end, np.array(found.name_start_byte, np.int32))
    about, opening = labels.main_definitions(lines, edges, rows)
    text_of = text_slices(bare, lang)
    texts = []
    for place, main in enumerate(np.where(about >= 0, about, opening).tolist()):
        name = found.qualified_name[main] if main >= 0 else ""
        texts.append(document_text(name, uri, text_of(int(edges[place]), int(edges[place + 1]))))
    pairs = []
    for doc, name, at in zip(found.doc, found.qualified_name, found.name_start_byte, strict=True):
        query = description(doc)
        if query:
            pairs.append(Pair(query, name, int(np.searchsorted(edges, at, side="right")) - 1))
    return texts, pairs


def without_documentation(content: bytes, lang: str, nodes: Nodes, found: Columns) -> bytes:
    """The file with the comments before definitions, and strings that are statements, blanked; nothing moves."""
    names = words(lang)
    kinds = names.type_ids(nodes.kind)
    is_comment = np.array(["comment" in name for name in names.types], np.bool_)[kinds]
    comments = np.flatnonzero(is_comment)
    begins, ends = nodes.start[comments].astype(np.int64), nodes.end[comments].astype(np.int64)
    # Reversed: of comments in comments (Rust's `doc_comment`) the outer one counts.
    by_end = dict(zip(ends[::-1].tolist(), begins[::-1].tolist(), strict=True))
    spans = []
    for start, name_start in zip(found.start_byte, found.name_start_byte, strict=True):
        # Between its attributes.
        low, high = np.searchsorted(begins, [start, name_start])
        spans += [
            span for span in zip(begins[low:high].tolist(), ends[low:high].tolist(), strict=True) if span[1] <= name_start
        ]
        spans += _comments_before(content, start, by_end)
    if lang == "python":
        spans += _bare_strings(nodes, names.types)
    result = bytearray(content)
    for low, high in spans:
        result[low:high] = re.sub(rb"[^\r\n]", b" ", content[low:high])
    return bytes(result)


def _comments_before(content: bytes, at: int, by_end: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """The spans of the comments directly before an offset; `by_end` has the start of the comment that ends at a byte."""
    while True:
        gap = content[max(0, at - 256) : at]
        close = at - len(gap) + len(gap.rstrip())
        # A line comment's node may hold its line break.
        end = next((end for end in range(close, min(close + 3, at + 1)) if end in by_end), None)
        if end is None or content[close:at].count(b"\n") > 1:
            return
        yield by_end[end], end
        at = by_end[end]


def _bare_strings(nodes: Nodes, types: tuple[str, ...]) -> list[tuple[int, int]]:
    """Spans of Python's strings that are statements."""
    kind: NDArray[np.int64] = np.minimum(nodes.kind, len(types) - 1).astype(np.int64)
    is_string = np.array([name == "string" for name in types])
    holds_statements = np.array([name in ("block", "module") for name in types])
    rows = np.flatnonzero(is_string[kind])
    rows = rows[holds_statements[kind[nodes.parent[rows]]]]
    return list(zip(nodes.start[rows].tolist(), nodes.end[rows].tolist(), strict=True))


def description(doc: str) -> str:
    """The first paragraph of documentation on one line, without markup; empty when it describes nothing."""
    lines: list[str] = []
    for line in doc.split("\n"):
        if (not line.strip() and lines) or (_TAG.match(line) and lines):
            break
        if line.strip() and not _TAG.match(line):
            lines.append(line)
    text = " ".join(_MARKUP.sub(" ", " ".join(lines)).split())
    count = len(text.split())
    letters = sum(character.isascii() and character.isalpha() for character in text)
    if not _SHORTEST <= count <= _LONGEST or letters * 2 < len(text) or _NO_DESCRIPTION.match(text):
        return ""
    return text


def write_pairs(work: Path, package: Package) -> Path:
    """The package's pairs: Parquet of query, name, chunk (its row in the second table) and lang; and its chunks."""
    folder = work / "training" / f"pairs-{FORMAT}" / package.key
    if (folder / "pairs.parquet").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    texts: list[str] = []
    rows: dict[str, list] = {"query": [], "name": [], "chunk": [], "lang": []}
    seen = set()
    read = 0
    for uri, content in sources(archive(work, package)):
        read += len(content)
        if len(rows["query"]) >= MOST_PAIRS or read > _MOST_READ:
            break
        own_texts, own_pairs = pairs_of(uri, content)
        new = [pair for pair in own_pairs if (pair.query, pair.name) not in seen]
        if not new:
            continue  # A second build of the same sources, or nothing to learn.
        seen.update((pair.query, pair.name) for pair in new)
        for pair in new:
            rows["query"].append(pair.query)
            rows["name"].append(pair.name)
            rows["chunk"].append(len(texts) + pair.chunk)
            rows["lang"].append(PurePosixPath(uri).suffix)
        texts += own_texts
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / "chunks.parquet")
    types = {"query": pa.string(), "name": pa.string(), "chunk": pa.int32(), "lang": pa.string()}
    pq.write_table(pa.table({name: pa.array(rows[name], kind) for name, kind in types.items()}), folder / "pairs.parquet")
    return folder


def _made(given: tuple[Path, Package]) -> tuple[Package, int]:
    return given[1], pq.read_metadata(write_pairs(*given) / "pairs.parquet").num_rows


def main() -> int:
    """Download, extract, and print a line a package."""
    parser = argparse.ArgumentParser(description="Make the pairs that the static table learns from.")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work", help="where downloads and pairs are kept")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes")
    given = parser.parse_args()
    work = given.work.resolve()
    listed = packages()
    for package in listed:
        archive(work, package)
    total = 0
    with ProcessPoolExecutor(given.jobs) as pool:
        for package, count in pool.map(_made, [(work, package) for package in listed]):
            total += count
            print(f"{count:6} {package.key}", flush=True)
    print(f"{total:6} in all")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
