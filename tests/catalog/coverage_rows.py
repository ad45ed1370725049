"""The coverage of the small version of these tests: two definitions, one of them missed, and their modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.schemas import Coverage, CoverageRows
from pipeline.tables import write_parquet, write_part

_DEFINITION: dict[str, Any] = {
    "symbol": "Wide.inner", "kind": "method", "lang": "python", "start_line": 1, "end_line": 2, "chunks": 1, "chunked": True,
    "missing_in": [], "asked": True, "query": "inner", "rank": 1, "found_by": ["lexical"], "reason": None,
}  # fmt: skip
_MODULE: dict[str, Any] = {
    "parent": "", "depth": 1, "bytes": 300, "indexed_bytes": 300, "files": 1, "indexed_files": 1, "definitions": 1,
    "chunked": 1, "covered": 1, "asked": 1, "found": 1, "found_by": [{"channel": "lexical", "found": 1}],
}  # fmt: skip


def write_coverage(folder: Path) -> Path:
    """Both tables, into the directory of a version."""
    definitions = [
        {**_DEFINITION, "uri": "src/a.py"},
        {**_DEFINITION, "uri": "src/deep/b.py", "rank": None, "found_by": [], "reason": "namesake"},
    ]
    modules = [
        {**_MODULE, "prefix": "", "parent": None, "depth": 0, "files": 2, "definitions": 2, "asked": 2},
        {**_MODULE, "prefix": "src/", "files": 2, "definitions": 2, "asked": 2},
        {**_MODULE, "prefix": "src/a.py", "parent": "src/", "depth": 2},
        {**_MODULE, "prefix": "src/deep/", "parent": "src/", "depth": 2, "found": 0, "found_by": []},
    ]
    write_part(folder / CoverageRows.name, CoverageRows, 0, pa.Table.from_pylist(definitions, schema=CoverageRows.schema))
    write_parquet(folder / Coverage.MODULES, pa.Table.from_pylist(modules, schema=Coverage.modules), Coverage.tag())
    return folder
