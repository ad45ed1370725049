"""Metadata worth reading: row counts, column schemas, facts and a few rows, so that nobody has to open a file.

Dagster keeps metadata for ever, also that of versions whose objects are long collected. So no text of the repository is in it:
names, paths, positions and figures are; code, comments and values are not (`TEXT_COLUMNS`).

Belongs here: how artefacts look in the Dagster UI. Not here: the numbers themselves, which stages return as facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.highlights import HIGHLIGHTS
from assets.plots import PLOTS, as_markdown
from pipeline import tables
from pipeline.catalog.losses import losses
from pipeline.schemas import Coverage, CoverageRows, Embeddings, EvalMetrics, Kind, Snapshot, Table
from pipeline.schemas.base import columns
from pipeline.schemas.descriptions import TEXT_COLUMNS, described
from pipeline.stage import Artefact
from pipeline.store.objects import read_record
from pipeline.store.observed import Observed

_SAMPLE_ROWS = 5
_CELL = 60
_MOST_LOSSES = 200
_SHOWN_AS = {"median_size": "median_nonblank_bytes", "max_size": "max_nonblank_bytes"}
"""Facts of chunks whose names do not say their unit."""
_MARKUP = re.compile(r"[\\*\[\]<>~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def _arrow_schema(kind: type[Kind]) -> pa.Schema | None:
    """The columns of the table that an artefact is known for."""
    if kind is Snapshot:
        return Snapshot.tables[0].schema
    if kind is Coverage:
        return CoverageRows.schema
    if kind is EvalMetrics:
        return EvalMetrics.details
    return getattr(kind, "schema", None)


def column_schema(kind: type[Kind]) -> dict[str, Any]:
    """Definition metadata: the columns of a table, and what they mean."""
    # The dimension is the embedder's, which definitions do not know.
    schema = columns(id=pa.int64(), embedding=pa.list_(pa.float32())) if kind is Embeddings else _arrow_schema(kind)
    if schema is None:
        return {}
    shown = [
        dg.TableColumn(
            field.name,
            str(_plain(field.type)),
            description=described(kind, field.name),
            constraints=dg.TableColumnConstraints(nullable=field.nullable),
        )
        for field in schema
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=shown)}


def _plain(kind: pa.DataType) -> pa.DataType:
    """What values are; that few distinct ones are stored as a dictionary is no concern of readers."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def result_metadata(
    kind: type[Kind], artefact: Artefact[Any], seconds: float, observed: Observed | None = None
) -> dict[str, Any]:
    """Materialisation metadata: what it looks like, what was counted, and how building it went; then where it lies."""
    record = read_record(artefact)
    place: dict[str, Any] = {
        "stored_bytes": sum(stored.bytes for stored in record.files),
        "stored_files": len(record.files),
        "key": artefact.key,
        "digest": artefact.digest,
        "path": dg.MetadataValue.path(str(artefact.path)),
    }
    metadata: dict[str, Any] = {"reused": artefact.reused, "seconds": round(seconds, 3), **_looks(kind, artefact)}
    for name, value in artefact.facts.items():
        if name in place or value is None or value in ("", [], {}):
            continue
        shown = dg.MetadataValue.md(_markdown_counts(value)) if isinstance(value, Mapping) else value
        metadata.setdefault(_SHOWN_AS.get(name, name), shown)
    if observed is not None:
        metadata |= _observed_metadata(observed)
    metadata |= place
    lost = losses(artefact.path)
    if lost.num_rows:
        metadata["lost"] = lost.num_rows
        metadata["lost_files"] = dg.MetadataValue.md(markdown_losses(lost))
    return metadata


def _looks(kind: type[Kind], artefact: Artefact[Any]) -> dict[str, Any]:
    """Rows, a sample, the table that says most, and a plot: whichever of them an artefact has."""
    metadata: dict[str, Any] = {}
    table = Snapshot.tables[0] if kind is Snapshot else kind
    if kind in PLOTS:
        name, draw = PLOTS[kind]
        if (svg := draw(artefact.path)) is not None:
            metadata[name] = dg.MetadataValue.md(as_markdown(svg, name))
    if kind in HIGHLIGHTS:
        name, pick = HIGHLIGHTS[kind]
        if (rows := pick(artefact.path)).num_rows:
            metadata[name] = dg.MetadataValue.md(markdown(rows))
    if issubclass(table, Table):
        paths = tables.parts(artefact.path, table)
        metadata["dagster/row_count"] = tables.count_rows(paths)
        metadata["sample"] = dg.MetadataValue.md(markdown(_first_rows(paths, table)))
    return metadata


def _observed_metadata(observed: Observed) -> dict[str, Any]:
    """What was seen, under its names; rows as a table."""
    shown = {
        name: dg.MetadataValue.md(markdown(pa.Table.from_pylist(value))) if isinstance(value, list) and value else value
        for name, value in _without_text(observed.facts).items()
    }
    return {**shown, "observed_at": dg.MetadataValue.timestamp(observed.at)}


def _without_text(value: Any) -> Any:
    """Without what is named as a column of text: the slowest queries keep their times, and not their words."""
    if isinstance(value, Mapping):
        return {name: _without_text(one) for name, one in value.items() if name not in TEXT_COLUMNS}
    return [_without_text(one) for one in value] if isinstance(value, list) else value


def markdown_losses(lost: pa.Table) -> str:
    """The first files that an artefact could not take, with the reason of each."""
    rows = lost.select(["uri", "reason"])
    more = (
        f"\n\n… and {len(rows) - _MOST_LOSSES} more; `indexctl status --losses` lists all" if len(rows) > _MOST_LOSSES else ""
    )
    return markdown(rows.slice(0, _MOST_LOSSES)) + more


def _first_rows(paths: Sequence[Path], kind: type[Table]) -> pa.Table:
    """A few rows of the first part that has any, without the columns of text."""
    filled = (path for path in paths if tables.count_rows([path]))
    rows = tables.read_part(next(filled, paths[0]), kind).slice(0, _SAMPLE_ROWS)
    return rows.select([name for name in rows.column_names if name not in TEXT_COLUMNS])


def _markdown_counts(counts: Mapping[str, Any]) -> str:
    """The largest first; counts inside of counts under both names."""
    rows = sorted(_flat(counts), key=lambda item: (-item[1] if isinstance(item[1], int | float) else 0, item[0]))
    return "\n".join(["| what | count |", "|---|---:|", *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows)])


def _flat(counts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in counts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}: ")
        else:
            yield f"{before}{name}", value


def _cell(value: Any) -> str:
    match value:
        case None:
            text = ""
        case bytes():
            text = value.hex()
        case bool():
            text = "yes" if value else "no"
        case list():
            text = _list(value)
        case _:
            text = str(value)
    text = " ".join(text.replace("|", "¦").replace("`", "'").split())
    # Names come from repositories: none of them is emphasis, a link or HTML.
    return _MARKUP.sub(r"\\\g<0>", text if len(text) <= _CELL else text[: _CELL - 1] + "…")


def _list(values: list[Any]) -> str:
    joined = ", ".join(values) if all(isinstance(value, str) for value in values) else None
    return joined if joined is not None and len(joined) <= _CELL else f"{len(values)} values"


def markdown(rows: pa.Table) -> str:
    """A table, numbers to the right; nothing in it is read as markup."""
    kinds = [_plain(field.type) for field in rows.schema]
    rules = ["---:" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "---" for kind in kinds]
    lines = [f"| {' | '.join(rows.column_names)} |", f"|{'|'.join(rules)}|"]
    lines.extend(f"| {' | '.join(_cell(value) for value in row.values())} |" for row in rows.to_pylist())
    return "\n".join(lines)
