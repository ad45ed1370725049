"""Where settings come from: `codeintel.toml` of a repository and of a store, and the environment; each value is checked.

Belongs here: bounds, what a repository may not set, and which source wins. Not here: names, types and defaults (`config`).
"""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from pipeline.config import EmbedSettings, Section, Settings, SpladeSettings, TraceSettings, XtrSettings
from pipeline.errors import ConfigError

FILE_NAME = "codeintel.toml"
ENVIRONMENT_PREFIX = "CODEINTEL_"
# Read by `interfaces`, not settings of the index.
_RESERVED_VARIABLES = frozenset({"CODEINTEL_DATA", "CODEINTEL_WORKERS"})

# Programs and files of this machine, and where source code is sent to: a repository, which nobody vouches for, must not choose
# what is run, read or told. That is all there is to say about an embedder, and about SPLADE's encoder. Nor how much is kept of
# what people search.
_NOT_FOR_REPOSITORIES = frozenset(
    {
        "scip_files",
        "scip_python",
        "scip_typescript",
        *EmbedSettings.__struct_fields__,
        *SpladeSettings.__struct_fields__,
        *TraceSettings.__struct_fields__,
        *XtrSettings.__struct_fields__,
    }
)


_BOUNDS: dict[str, tuple[float, float]] = {
    "max_file_bytes": (1, 1 << 30),
    "scip_timeout": (1, 86_400),
    "scip_stale_share": (0, 1),
    "churn_days": (1, 36_500),
    "watch_debounce": (0.01, 60),
    "watch_most_delay": (0.1, 3600),
    "chunk_budget": (64, 1 << 16),
    "embed_max_tokens": (0, 1 << 20),
    "embed_dimension": (0, 1 << 14),
    "embed_threads": (1, 256),
    "embed_batch_size": (1, 4096),
    "embed_requests": (1, 64),
    "embed_timeout": (1, 3600),
    "embed_retries": (0, 20),
    "embed_query_timeout": (1, 3600),
    "faiss_memory_mb": (0, 1 << 24),
    "nlist": (0, 1 << 18),
    "pq_m": (0, 4096),
    "pq_nbits": (4, 12),
    "opq_m": (0, 4096),
    "hnsw_M": (4, 256),
    "hnsw_efConstruction": (8, 4096),
    "target_recall": (0.5, 0.999),
    "eval_queries": (0, 20_000),
    "eval_k": (1, 100),
    "coverage_queries": (0, 1 << 20),
    "quality_tolerance": (0, 1),
    "recall_bound": (0, 1),
    "coverage_bound": (0, 1),
    "found_bound": (0, 1),
    "default_nprobe": (0, 1 << 18),
    "hnsw_efSearch": (0, 1 << 16),
    "refine_k_factor": (0, 1000),
    "default_k": (1, 10_000),
    "lexical_weight": (0, 100),
    "dense_weight": (0, 100),
    **{f"{kind}_dense_factor": (0, 10) for kind in ("name", "path", "question", "phrase", "sentence")},
    **{f"{field}_boost": (0, 100) for field in ("body", "names", "path", "file_name")},
    "symbol_weight": (0, 100),
    "splade_max_tokens": (0, 1 << 20),
    "splade_document_terms": (1, 4096),
    "splade_batch_size": (0, 4096),
    "splade_weight": (0, 100),
    "splade_query_terms": (1, 4096),
    "rrf_k": (0, 10_000),
    "plain_word_factor": (0, 1),
    "embedded_name_factor": (0, 1),
    "path_weight": (0, 100),
    "embedded_path_factor": (0, 1),
    "semantic_min_score": (-1, 1),
    "xtr_max_tokens": (16, 1 << 16),
    "xtr_threads": (1, 256),
    "xtr_batch_size": (1, 4096),
    "xtr_weight": (0, 100),
    "xtr_tokens": (1, 1 << 20),
    "xtr_lists": (1, 1 << 16),
    "xtr_rerank": (0, 10_000),
    "xtr_rerank_weight": (0, 100),
    "xtr_span_bonus": (0, 1),
    "test_factor": (0, 1),
    "docs_factor": (0, 1),
    "example_factor": (0, 1),
    "superseded_factor": (0, 1),
    "vendored_factor": (0, 1),
    "generated_factor": (0, 1),
    "private_factor": (0, 1),
    "stub_factor": (0, 1),
    "reexport_factor": (0, 1),
    "same_file_factor": (0, 1),
    "question_file_evidence": (0, 100),
    "phrase_file_evidence": (0, 100),
    "file_name_match": (0, 100),
    "folder_match": (0, 100),
    "diversity": (0, 1),
    "duckdb_threads": (1, 256),
    "trace_pool": (1, 1000),
    "trace_files": (1, 100_000),
    "trace_bytes": (1 << 10, 1 << 40),
}
"""Inclusive bounds of the numeric settings."""


@functools.cache
def _section_types() -> dict[str, type[Section]]:
    return get_type_hints(Settings)


def _owners() -> dict[str, str]:
    """Flat setting name -> name of its section."""
    return {name: section for section, section_type in _section_types().items() for name in section_type.__struct_fields__}


def from_flat(values: Mapping[str, Any], *, origin: str, strict: bool = True) -> Settings:
    """Settings from flat names over the defaults.

    `strict=False` also accepts strings for numbers, booleans and lists (comma-separated), as the environment gives them.
    Raises `ConfigError` naming `origin` and the setting.
    """
    owners = _owners()
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in owners:
            raise ConfigError(f"{origin}: there is no setting `{name}`.", hint=f"Known settings: {', '.join(sorted(owners))}.")
        sections.setdefault(owners[name], {})[name] = value
    types = _section_types()
    built: dict[str, Section] = {}
    for section, given in sections.items():
        for name, value in given.items():
            try:
                # One at a time, so that the message names the setting.
                struct = msgspec.convert({name: _loosen(types[section], name, value, strict)}, types[section], strict=strict)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{origin}: `{name}` is not valid: {error}.") from None
            converted = getattr(struct, name)
            low, high = _BOUNDS.get(name, (float("-inf"), float("inf")))
            if isinstance(converted, int | float) and not isinstance(converted, bool) and not low <= converted <= high:
                raise ConfigError(f"{origin}: `{name}` = {converted} is out of range.", hint=f"Use {low:g} to {high:g}.")
            given[name] = converted
        built[section] = types[section](**given)
    return Settings(**built)  # type: ignore[arg-type]  # each section under its own name


def _loosen(section_type: type[Section], name: str, value: Any, strict: bool) -> Any:
    if strict or not isinstance(value, str):
        return value
    field = next(field for field in msgspec.structs.fields(section_type) if field.name == name)
    if isinstance(field.default, tuple):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def load(*folders: Path, repository: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from `codeintel.toml` of the repository, then of each folder (later ones win), then the environment.

    Raises `ConfigError` for files that cannot be read, unknown names, wrong types, values out of range, and for what a
    repository may not set.
    """
    merged: dict[str, Any] = {}
    for folder in folders if repository is None else (repository, *folders):
        path = folder / FILE_NAME
        values = read_settings_file(path)
        if folder is repository and (named := sorted(_NOT_FOR_REPOSITORIES & values.keys())):
            raise ConfigError(
                f"{path}: `{named[0]}` cannot be set by a repository.",
                hint=f"Set it in `{FILE_NAME}` of the store, or as {ENVIRONMENT_PREFIX}{named[0].upper()}.",
            )
        from_flat(values, origin=str(path))
        merged.update(values)
    environment = os.environ if environment is None else environment
    owners = _owners()
    given = {
        name: environment[variable]
        for name in owners
        if (variable := ENVIRONMENT_PREFIX + name.upper()) in environment and variable not in _RESERVED_VARIABLES
    }
    from_environment = from_flat(given, origin="environment", strict=False)
    merged.update({name: from_environment.flat()[name] for name in given})
    return from_flat(merged, origin="settings")


def read_settings_file(path: Path) -> dict[str, Any]:
    """What a `codeintel.toml` sets, unchecked; nothing where there is none. Raises `ConfigError` for one that is no TOML."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
