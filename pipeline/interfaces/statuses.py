"""The status of a repository as a JSON value: what is published, how it was built, what was lost, and whether it is behind;
and which versions there are.

Belongs here: which fields these have. Not here: printing them (`commands_store`, `commands_versions`).
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import CodeIntelError
from pipeline.interfaces.losses import describe_losses
from pipeline.source.freshness import Freshness
from pipeline.store.layout import Repository, read_origin
from pipeline.store.locks import is_building
from pipeline.store.pins import notes
from pipeline.store.versions import (
    Version,
    allowed_of,
    current_or_none,
    newest_first,
    read_build_facts,
    read_manifest,
    version_names,
)


def status_of(repository: Repository, version: Version, fresh: Freshness, *, every_loss: bool = False) -> dict[str, Any]:
    """What there is to say of an open version; `every_loss` names each file that was lost."""
    manifest, facts = version.manifest, read_build_facts(version.path)
    return {
        "repo": repository.name,
        "version": version.name,
        "commit": manifest.commit,
        "dirty": manifest.dirty,
        "stale": fresh.stale,
        "behind": fresh.as_json(),
        "building": is_building(repository),
        "chunks": manifest.counts["chunks"],
        "vectors": manifest.counts["vectors"],
        "languages": manifest.artefacts["source_snapshot"].facts["languages"],
        "embedder": manifest.embedder["name"],
        "operating_point": manifest.operating_point,
        "recall": (manifest.operating_point["tuning"] or {}).get("recall"),
        "published_at": facts.get("published_at"),
        "allowed": allowed_of(facts),
        "path": read_origin(repository).path,
        "catalog": _catalog_of(repository, version.name),
        **describe_losses(version, every_file=every_loss),
    }


def without_version(repository: Repository, error: CodeIntelError) -> dict[str, Any]:
    """The status of a repository whose version cannot be opened."""
    return {"repo": repository.name, "version": None, "problem": str(error)}


def versions_of(repository: Repository) -> list[dict[str, Any]]:
    """The versions in the store, the latest published first; a damaged one says so."""
    current, pinned, rows = current_or_none(repository), notes(repository), []
    for name, facts in newest_first(repository, version_names(repository)):
        row: dict[str, Any] = {"version": name, "current": name == current, "published_at": facts.get("published_at"),
                               "pinned": name in pinned, "note": pinned.get(name),
                               "allowed": list(allowed_of(facts))}  # fmt: skip
        try:
            manifest = read_manifest(repository.versions / name)
            row |= {"commit": manifest.commit, "dirty": manifest.dirty, "parent": manifest.parent,
                    "chunks": manifest.counts["chunks"]}  # fmt: skip
        except CodeIntelError as error:
            row["problem"] = error.message
        rows.append(row)
    return rows


def _catalog_of(repository: Repository, published: str) -> dict[str, Any] | None:
    """Of which version the DuckDB file for people's own tools is; None where there is no such file."""
    if not repository.catalog.exists():
        return None
    from pipeline.catalog.database import read_contents

    try:
        contents = read_contents(repository)
    except CodeIntelError as error:
        return {"version": None, "behind": True, "materialized": False, "problem": str(error)}
    if contents is None:
        return None
    return {
        "version": contents.version or None, "behind": contents.version != published, "materialized": contents.materialized,
        "problem": None,
    }  # fmt: skip
