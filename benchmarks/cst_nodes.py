"""What the table of concrete syntax costs beside libcst alone, on the Python files of a folder.

    .venv/bin/python benchmarks/cst_nodes.py FOLDER [--limit BYTES] [--rounds N]

libcst alone: parsing, and the two metadata providers that the same facts would be asked of, `ByteSpanPositionProvider` and
`QualifiedNameProvider`, in one wrapper that does not copy. Both sides run in this process, file after file in turn; the best
round counts. Prints a Markdown table.

Belongs here: the cost of `cst_nodes`. Not here: the other stages (`stages`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import libcst as cst
import pyarrow as pa
from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, QualifiedNameProvider

from pipeline import tables
from pipeline.config import CstSettings
from pipeline.schemas import Sources
from pipeline.stage import Artefact, Output
from pipeline.structure.cst_stage import cst_nodes
from pipeline.workers import Runtime


def parse_alone(contents: list[bytes]) -> None:
    """libcst's parser."""
    for content in contents:
        cst.parse_module(content)


def libcst_alone(contents: list[bytes]) -> None:
    """libcst's parser and providers."""
    for content in contents:
        wrapper = MetadataWrapper(cst.parse_module(content), unsafe_skip_copy=True)
        wrapper.resolve_many([ByteSpanPositionProvider, QualifiedNameProvider])


def table(contents: list[bytes]) -> int:
    """The whole stage with one worker, from Parquet to Parquet. Returns the number of rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = {
            "uri": [f"{number:05}.py" for number in range(len(contents))],
            "lang": pa.array(["python"] * len(contents)).dictionary_encode(),
            "content": contents,
        }
        tables.write_part(folder / "sources", Sources, 0, pa.table(columns))
        source = Artefact(repo="r", asset="source_snapshot", key="", path=folder, schema="", digest="", lineage={})
        return int(cst_nodes(source, CstSettings(), Runtime(), Output(folder / "out"))["nodes"])


def seconds(work: Callable[[list[bytes]], object], contents: list[bytes]) -> float:
    """Processor seconds."""
    started = time.process_time()
    work(contents)
    return time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compares the table of concrete syntax with libcst alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=1_500_000, help="bytes of source, spread over the folder")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    everything = [path.read_bytes() for path in sorted(given.folder.rglob("*.py"))]
    step = max(1, -(-sum(map(len, everything)) // given.limit))
    contents = everything[::step]
    sides: dict[str, Callable[[list[bytes]], object]] = {
        "parser": parse_alone,
        "parser and providers": libcst_alone,
        "cst_nodes": table,
    }
    best = {name: min(seconds(work, contents) for _ in range(given.rounds)) for name, work in sides.items()}
    print(f"{len(contents)} files, {sum(map(len, contents)) / 1e6:.2f} MB, {table(contents):,} nodes\n")
    print("| | processor s | of libcst |\n|---|---:|---:|")
    for name, spent in best.items():
        print(f"| {name} | {spent:.2f} | {spent / best['parser and providers']:.2f} |")


if __name__ == "__main__":
    main()
