"""Sections about how the index was made, and about what the figures mean.

Belongs here: what these sections say. Not here: what is read (`reading`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.report.figures import counted, decimal
from pipeline.evaluation.report.markup import Html, element, join, name
from pipeline.evaluation.report.parts import folded, named, section
from pipeline.evaluation.report.reading import Shown

_DIGEST = 16


def built(shown: Shown) -> Html:
    """Embedder, vector index, settings, tools."""
    subject = shown.subject
    return section(
        "How it was made",
        named([
            ("commit", join([name(subject.commit or "none"), " with uncommitted changes" if subject.dirty else None])),
            ("embedder", _embedder(shown.embedder)),
            ("vectors", _agreement(shown)),
            ("vector index", _index(shown.faiss)),
            ("operating point", _point(shown)),
            ("settings", _settings(shown.settings)),
            ("tools", ", ".join(f"{tool} {version}" for tool, version in sorted(subject.tools.items()))),
        ]),
    )  # fmt: skip


def _embedder(of: Mapping[str, Any]) -> Html:
    dimension = f", {of['dimension']} dimensions" if "dimension" in of else ""
    return join([name(str(of.get("name", "unknown"))), f"{dimension}, ", name(str(of.get("digest", ""))[:_DIGEST])])


def _agreement(shown: Shown) -> str | None:
    agreement = shown.metrics.agreement
    if agreement is None or not agreement.sample:
        return None
    sample = counted(agreement.sample, "chunk")
    return f"{sample} embedded once more: the least cosine with the stored vector is {agreement.least:.4f}"


def _index(of: Mapping[str, Any]) -> Html:
    return join([str(of.get("family", "unknown")), ", ", name(str(of.get("factory", ""))), f", {of.get('count', 0):,} vectors"])


def _point(shown: Shown) -> Html | str:
    nearest, tuned = shown.metrics.nearest, shown.tuning
    if tuned.exact:
        return "none: the search is exact"
    parameters, k_factor = (nearest.parameters, nearest.k_factor) if nearest is not None else (tuned.parameters, tuned.k_factor)
    met = {
        True: f"meets the target {tuned.target:g}",
        False: f"does not meet the target {tuned.target:g}",
        None: "not measured",
    }[tuned.met]
    known = f"; recall@{tuned.k} {decimal(tuned.tuning.recall)} when it was tuned, which {met}" if tuned.tuning else ""
    return join([name(parameters), f", k-factor {k_factor:g}{known}"])


def _settings(changed: Mapping[str, tuple[Any, Any]]) -> Html | str:
    if not changed:
        return "all as they come"
    return join(
        element("div", name(f"{setting} = {_json(now)}"), element("span", f" instead of {_json(usual)}", class_="soft"))
        for setting, (now, usual) in changed.items()
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_MEANINGS = {
    "Test queries": (
        "They are made from the repository itself: names of definitions, first sentences of documentation, how callers "
        "and tests use a definition, what a module is about. Every chunk that answers one counts. They tell which of two "
        "indexes of this repository is better; they are not what people ask, and figures of two repositories say little beside "
        "each other. They are of other files than those that the operating point is tuned on."
    ),
    "Plain and masked": (
        "A masked query is copied from text of its answer, and is asked to an index without that text, so that shared words "
        "cannot pass for understanding."
    ),
    "hit@{k}": "The share of queries with an answer among the first {k} results.",
    "recall@{k}": "The share of a query's answers among the first {k}, on average.",
    "MRR": "The mean of 1/rank of the first answer; 0 where it is beyond {k}.",
    "nDCG@{k}": (
        "How near the top the answers are, 1 where they come first: the sum of 1/log2(rank + 1) over the answers that are "
        "among the first {k}, as a share of the most that is possible."
    ),
    "95 % interval": (
        "Where the mean would lie in 95 of 100 draws of as many such queries (bootstrap, 1,000 resamples). Two versions are "
        "compared query by query, with the interval of the differences."
    ),
    "Recall of the nearest vectors": (
        "The share of the {k} nearest of all vectors that the vector search finds at its operating point. It says nothing "
        "of whether the nearest vectors are answers."
    ),
    "Coverage": (
        "Whether each definition lies wholly inside of chunks that are in every index; and of a sample, whether a query made "
        "of the definition finds it within {k}."
    ),
    "Times": "Observed on one machine. They change from run to run, and no other figure does.",
}


def meanings(shown: Shown) -> Html:
    """What the words on the page mean."""
    terms = [(term.format(k=shown.metrics.k), said.format(k=shown.metrics.k)) for term, said in _MEANINGS.items()]
    return section("What the figures mean", folded("Definitions", named(terms)))
