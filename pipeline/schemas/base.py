"""What a kind of artefact is, and how schemas are written.

Belongs here: what all kinds share. Not here: any kind.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa


class Kind:
    """An artefact's type. `asset` is its name in the graph; `version` rises whenever its shape changes."""

    asset: ClassVar[str]
    version: ClassVar[int] = 1

    @classmethod
    def tag(cls) -> str:
        """What a stored object says that it is, for example `chunks/1`."""
        return f"{cls.asset}/{cls.version}"


class Table(Kind):
    """A table: a directory `name` of Parquet parts, cut by a hash of the uri, rows sorted by `order`."""

    name: ClassVar[str]
    schema: ClassVar[pa.Schema]
    order: ClassVar[tuple[str, ...]]


def columns(**named: pa.DataType | pa.Field) -> pa.Schema:
    """Columns in order; what is not `nullable` has no nulls."""
    return pa.schema(
        [
            kind.with_name(name) if isinstance(kind, pa.Field) else pa.field(name, kind, nullable=False)
            for name, kind in named.items()
        ]
    )


def nullable(kind: pa.DataType) -> pa.Field:
    """A column that may have nulls."""
    return pa.field("", kind, nullable=True)


WORD = pa.dictionary(pa.int32(), pa.string())
"""Strings of few distinct values."""
