"""What is noted of each tool.

Belongs here: the one set of figures that all tools fill. Not here: how a figure is measured (`measure`) or judged (`main_job`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import corpus
from measure import Run, Series


@dataclass(slots=True)
class Figures:
    """Everything measured of one tool; times in seconds (warm queries in milliseconds), memory in MiB, places 1-based."""

    label: str
    build: Series = field(default_factory=Series)
    build_same: Series = field(default_factory=Series)
    """A cold build of the files alone that semble indexes: those in Python."""
    build_full: Series = field(default_factory=Series)
    """A cold build with what no peer makes: precise symbols by the indexer, and concrete syntax."""
    build_cpu: Series = field(default_factory=Series)
    build_inner: Series = field(default_factory=Series)
    """The indexing call alone, without starting the process and saving, as the tool itself reports or returns it."""
    build_peak: Series = field(default_factory=Series)
    again: Series = field(default_factory=Series)
    cold_query: Series = field(default_factory=Series)
    cold_query_peak: Series = field(default_factory=Series)
    warm_query: Series = field(default_factory=Series)
    """Milliseconds of single queries in one process."""
    store_mib: Series = field(default_factory=Series)
    files: Series = field(default_factory=Series)
    chunks: Series = field(default_factory=Series)
    places: dict[str, int | None] = field(default_factory=dict)
    """Query -> 1-based place of the first result in the expected file; None when there is none."""

    def add_build(self, measured: Run) -> None:
        """A cold build's costs."""
        self.build.add(measured.wall)
        self.build_cpu.add(measured.cpu)
        self.build_peak.add(measured.peak)

    def add_answers(self, answers: dict[str, list[str]]) -> None:
        """Places of the expected files; `answers` maps each query to the file of every result, best first."""
        for wanted in corpus.EXPECTATIONS:
            uris = answers[wanted.query]
            self.places[wanted.query] = uris.index(wanted.uri) + 1 if wanted.uri in uris else None
