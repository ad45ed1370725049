"""The idmap of a version as a file for other programs: Parquet, CSV, or one JSON object a line.

Every family has the same three columns, whether FAISS maps ids itself (`native`) or by IDMap2, and whether a row is of the
primary or of the delta.

Belongs here: the formats. Not here: making the idmap (`pipeline.index.dense`), where the file may lie (`interfaces`).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline import files
from pipeline.errors import IndexCorruptionError

Format = Literal["parquet", "csv", "jsonl"]
_BATCH = 1 << 16


def write_idmap(idmap: Path, out: BinaryIO, form: Format) -> dict[str, int]:
    """Write the rows of a `faiss_idmap.parquet` in row order; returns how many there are by `source`.

    `parquet` is the file as it was published, byte for byte. `csv` has a header and integers. In `jsonl` `external_id` is
    text, as ids are everywhere in JSON. Raises `IndexCorruptionError` when the idmap cannot be read, OSError from writing.
    """
    try:
        table = pq.read_table(idmap)
    except (pa.ArrowException, OSError) as error:
        raise IndexCorruptionError(
            f"{idmap} cannot be read: {error}.", hint="Run `indexctl verify`, then `indexctl build`."
        ) from None
    if form == "parquet":
        with idmap.open("rb") as file:
            shutil.copyfileobj(file, out)
    elif form == "csv":
        # Arrow does not write dictionaries.
        plain = table.set_column(2, "source", table.column("source").cast(pa.string()))
        pa_csv.write_csv(plain, out, pa_csv.WriteOptions(quoting_style="none", quoting_header="none"))
    else:
        for batch in table.to_batches(max_chunksize=_BATCH):
            out.write(_json_lines(batch))
    counted = pc.value_counts(table.column("source").cast(pa.string())).to_pylist()
    return {row["values"]: row["counts"] for row in sorted(counted, key=lambda row: row["values"], reverse=True)}


def _json_lines(batch: pa.RecordBatch) -> bytes:
    # The words of `source` are ours and need no escape.
    row, one, source = (column.cast(pa.string()) for column in batch.columns)
    parts = ('{"faiss_row":', row, ',"external_id":"', one, '","source":"', source, '"}\n', "")
    return "".join(pc.binary_join_element_wise(*parts).to_pylist()).encode()


def export_idmap(idmap: Path, target: Path, form: Format, *, overwrite: bool) -> dict[str, int]:
    """`write_idmap` into a file, whole or not at all. Raises FileExistsError, without `overwrite`, where there is one."""
    temporary = files.temporary_sibling(target)
    try:
        with temporary.open("xb") as out:
            counted = write_idmap(idmap, out, form)
        files.put_file(temporary, target, replace=overwrite)
    finally:
        temporary.unlink(missing_ok=True)
    return counted
