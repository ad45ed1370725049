"""Settings: one table of names, types and defaults, in sections that stages declare.

A stage names the sections that it reads in its signature, and only those enter the key of its artefact. To people the names are
flat (`chunk_budget = 1500` in `codeintel.toml`, `CODEINTEL_CHUNK_BUDGET=1500` in the environment).

Belongs here: settings that change what is built or answered. Not here: command-line flags and where the store lies
(`interfaces`), and how many processes work (`workers`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from pipeline.errors import ConfigError

FILE_NAME = "codeintel.toml"
ENVIRONMENT_PREFIX = "CODEINTEL_"
# Read by `interfaces`, not settings of the index.
_RESERVED_VARIABLES = frozenset({"CODEINTEL_DATA", "CODEINTEL_WORKERS"})


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the settings sections; a stage parameter of such a type makes the section part of the stage's key."""


class SourceSettings(Section, frozen=True, kw_only=True):
    """Which files are indexed. Sizes in bytes."""

    max_file_bytes: int = 1 << 20
    include: tuple[str, ...] = ()
    """Glob patterns (gitignore syntax); when given, only matching files are considered."""
    exclude: tuple[str, ...] = ()
    """Glob patterns (gitignore syntax) of files that count as ignored."""
    index_vendored: bool = False
    index_generated: bool = False
    index_catalogues: bool = False


class ScipSettings(Section, frozen=True, kw_only=True):
    """Where symbols come from."""

    scip: Literal["auto", "off"] = "auto"
    """`auto`: run the indexers that are found; `off`: occurrences from syntax alone (`--no-scip`)."""
    scip_files: tuple[str, ...] = ()
    """SCIP indexes built elsewhere, `LANGUAGE=PATH`; they take the place of an indexer's run."""
    scip_python: str = ""
    """Path of scip-python; when empty, `ty-scip` indexes Python, or scip-python on PATH where that is not installed."""
    scip_typescript: str = ""
    """Path of scip-typescript; when empty, the one on PATH."""
    scip_timeout: int = 600
    """Seconds that one indexer may take."""


class CstSettings(Section, frozen=True, kw_only=True):
    """Whether concrete syntax is kept."""

    cst: bool = True


class ModuleSettings(Section, frozen=True, kw_only=True):
    """How module facts are counted."""

    churn_days: int = 365
    """Commits that are at most so many days older than the indexed commit count."""


class ChunkSettings(Section, frozen=True, kw_only=True):
    """How files are cut, and how chunks are named."""

    chunk_budget: int = 1500
    """The most non-whitespace bytes of one chunk."""
    id_strategy: Literal["content", "span", "sequence"] = "content"
    id_salt: str = ""


class EmbedSettings(Section, frozen=True, kw_only=True):
    """Which embedder makes the vectors."""

    embedder: Literal["static"] = "static"


class IndexSettings(Section, frozen=True, kw_only=True):
    """How vectors are indexed."""

    faiss_family: Literal["auto", "flat"] = "auto"


class SearchSettings(Section, frozen=True, kw_only=True):
    """How channels are weighed at query time. Not part of any artefact's key; recorded in the manifest."""

    default_k: int = 10
    lexical_weight: float = 1.0
    dense_weight: float = 0.5
    symbol_weight: float = 1.0
    """For queries that are names alone."""
    semantic_min_score: float = 0.0
    duckdb_memory_limit: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)? ?[KMGT]i?B$")] = "512MB"
    """As DuckDB writes it."""
    duckdb_threads: int = 2


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All sections. Field names are unique across sections, so that people write them flat."""

    source: SourceSettings = SourceSettings()
    scip: ScipSettings = ScipSettings()
    cst: CstSettings = CstSettings()
    modules: ModuleSettings = ModuleSettings()
    chunks: ChunkSettings = ChunkSettings()
    embed: EmbedSettings = EmbedSettings()
    index: IndexSettings = IndexSettings()
    search: SearchSettings = SearchSettings()

    def flat(self) -> dict[str, Any]:
        """Every setting by its flat name, as plain JSON values."""
        return {
            name: value
            for section in msgspec.structs.fields(self)
            for name, value in msgspec.to_builtins(getattr(self, section.name)).items()
        }

    def section(self, section_type: type[Section]) -> Section:
        """The section of a given type."""
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if type(value) is section_type:
                return value
        raise ConfigError(f"{section_type.__name__} is not a section of the settings.")


_BOUNDS: dict[str, tuple[float, float]] = {
    "max_file_bytes": (1, 1 << 30),
    "scip_timeout": (1, 86_400),
    "churn_days": (1, 36_500),
    "chunk_budget": (64, 1 << 16),
    "default_k": (1, 10_000),
    "lexical_weight": (0, 100),
    "dense_weight": (0, 100),
    "symbol_weight": (0, 100),
    "semantic_min_score": (-1, 1),
    "duckdb_threads": (1, 256),
}
"""Inclusive bounds of the numeric settings."""


def _section_types() -> dict[str, type[Section]]:
    return get_type_hints(Settings)


def _owners() -> dict[str, str]:
    """Flat setting name -> name of its section."""
    return {
        field.name: section
        for section, section_type in _section_types().items()
        for field in msgspec.structs.fields(section_type)
    }


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


_OUTSIDE = ("scip_files", "scip_python", "scip_typescript")
"""Settings that name files and programs outside of the repository: one that is indexed must not choose what is run."""


def load(*folders: Path, environment: Mapping[str, str] | None = None, untrusted: Path | None = None) -> Settings:
    """Settings from `codeintel.toml` of each folder (later ones win), then the environment.

    That of the folder `untrusted`, a repository, must not name what lies elsewhere. Raises `ConfigError` for files that cannot
    be read, unknown names, wrong types and values out of range.
    """
    merged: dict[str, Any] = {}
    for folder in folders:
        path = folder / FILE_NAME
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            values = tomllib.loads(raw.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}.") from error
        from_flat(values, origin=str(path))
        for name in _OUTSIDE if folder == untrusted else ():
            if name in values:
                raise ConfigError(
                    f"{path}: a repository cannot set `{name}`, which names what lies outside of it.",
                    hint=f"Set it in the store's {FILE_NAME} or in {ENVIRONMENT_PREFIX}{name.upper()}.",
                )
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
