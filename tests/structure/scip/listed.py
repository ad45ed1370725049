"""The table `files` of sources that a test made."""

from __future__ import annotations

import pyarrow as pa

from pipeline.files import seal_of


def files_of(sources: pa.Table) -> pa.Table:
    """The table `files` of what is in `sources`."""
    contents = sources["content"].to_pylist()
    columns = {
        "uri": sources["uri"],
        "lang": sources["lang"],
        "size": pa.array([len(content) for content in contents], pa.int64()),
        "content_hash": pa.array([seal_of(content) for content in contents], pa.binary(32)),
        "status": pa.array(["indexed"] * len(contents), pa.string()).dictionary_encode(),
        "reason": pa.nulls(len(contents), pa.string()).dictionary_encode(),
    }
    return pa.table(columns)
