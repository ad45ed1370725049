"""DuckDB as a Dagster resource: the views of a version, in memory and read-only.

`dagster-duckdb` opens the connection; what it leaves open after an exception is closed here.

Belongs here: connections for assets and checks. Not here: the views (`pipeline.catalog`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource

from pipeline.catalog.views import install


class CatalogResource(DuckDBResource):
    """Connections over a version's files."""

    @contextmanager
    def version(self, folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that sees the version in `folder` and nothing else of the disk."""
        opening = self.get_connection()
        connection = opening.__enter__()
        with closing(connection):
            install(connection, folder)
            yield connection
        with suppress(duckdb.Error):
            opening.__exit__(None, None, None)


def catalog_resource() -> CatalogResource:
    """The resource as the definitions use it."""
    return CatalogResource(database=":memory:")
