"""Whether queries made from a repository rank settings as people's queries do: Spearman's correlation over settings.

    .venv/bin/python benchmarks/eval_agreement.py LABELS [--queries 400] [--work DIR] [--json FILE]

Each labelled package is indexed, which makes its queries; then every setting of `VARIANTS` is judged twice: by the nDCG of the
evaluation of versions (`pipeline.evaluation`), and by NDCG@10 of the labelled queries (`code_search`). Both are means over
packages. The settings were written down before anything was measured, and none was dropped.

Belongs here: the settings, both judgements, and the table. Not here: labels (`labelled`), scores of labels (`scoring`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import labelled
import msgspec
import numpy as np
import numpy.typing as npt
from indexed import searcher_of
from scoring import K, Place, ndcg, ranks_of

from pipeline.config import SearchSettings
from pipeline.evaluation.asking import reply
from pipeline.evaluation.metrics import score
from pipeline.evaluation.queries import TEST, Query, read_queries
from pipeline.evaluation.twin import Twin, twin_of
from pipeline.search.engine import Searcher

_CHANNELS = ("lexical", "dense", "symbol", "path")
_ROLES = "test docs example superseded vendored generated private stub reexport".split()
_NO_ROLES = {f"{role}_factor": 1.0 for role in _ROLES}
_NO_FILES = {
    "question_file_evidence": 0.0, "phrase_file_evidence": 0.0, "file_name_match": 0.0, "folder_match": 0.0,
    "same_file_factor": 1.0,
}  # fmt: skip
_BODIES = {"names_boost": 0.0, "path_boost": 0.0, "file_name_boost": 0.0}


def _alone(name: str) -> dict[str, Any]:
    return {f"{other}_weight": 0.0 for other in _CHANNELS if other != name}


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "as it is": {},
    "lexical alone": _alone("lexical"),
    "dense alone": _alone("dense"),
    "without lexical": {"lexical_weight": 0.0},
    "without dense": {"dense_weight": 0.0},
    "without symbols": {"symbol_weight": 0.0},
    "rank fusion": {"fusion": "ranks"},
    "dense twice": {"dense_weight": 1.4},
    "lexical on bodies alone": _BODIES,
    "names three times": {"names_boost": 3.0},
    "no roles of files": _NO_ROLES,
    "no evidence of files": _NO_FILES,
    "no structure": {**_NO_ROLES, **_NO_FILES},
    "further chunks count fully": {"same_file_factor": 1.0},
    "lexical bodies, no structure": {
        **_alone("lexical"), **_NO_ROLES, **_NO_FILES, **_BODIES,
    },
    "dense alone, no structure": {**_alone("dense"), **_NO_ROLES, **_NO_FILES},
}  # fmt: skip
"""Name -> what differs from the defaults."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one setting reaches on one package: nDCG@10 of each query made from it, and of each query of people."""

    ours: list[float]
    theirs: list[float]


def of_people(searcher: Searcher, queries: Sequence[labelled.Query]) -> list[float]:
    """NDCG@10 of each labelled query."""
    found = []
    for query in queries:
        hits = [Place(hit.uri, hit.start_line, hit.end_line) for hit in searcher.search(query.text, K) if hit.score > 0]
        found.append(ndcg(ranks_of(query.targets, hits)))
    return found


def of_repository(searcher: Searcher, twin: Twin | None, queries: Sequence[Query]) -> list[float]:
    """nDCG@10 of each query that was made from the repository; masked ones are asked to the twin."""
    found = []
    for query in queries:
        opened = searcher.opened if query.mask is None or twin is None else twin.opened
        answered = reply(opened, query.query, K)
        # With weights of 0 what only other channels know has a score of 0: it was not found.
        worth = int((answered.ranked.scores > 0).sum())
        found.append(score(answered.ranking[:worth].tolist(), query, K).ndcg)
    return found


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """The correlation of ranks; ties have their mean rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values)
    return np.array([(array < value).sum() + ((array == value).sum() - 1) / 2 for value in array])


def interval(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % of the correlation when packages [settings, packages] are drawn anew."""
    drawn = np.random.default_rng(0)
    packages = ours.shape[1]
    found = []
    for _ in range(2000):
        chosen = drawn.integers(0, packages, packages)
        found.append(spearman(np.nanmean(ours[:, chosen], axis=1), theirs[:, chosen].mean(axis=1)))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def judge(searcher: Searcher, made: Sequence[Query], people: Sequence[labelled.Query]) -> Iterator[tuple[str, Judged]]:
    """Every setting over one package."""
    with twin_of(searcher.opened, made) as twin:
        for name, changed in VARIANTS.items():
            settings = msgspec.structs.replace(SearchSettings(), **changed)
            for opened in (searcher.opened, *([] if twin is None else [twin.opened])):
                opened.settings = settings
            yield name, Judged(of_repository(searcher, twin, made), of_people(searcher, people))


def main() -> int:
    """Judge every setting by both, and print."""
    parser = argparse.ArgumentParser(description="Do queries made from repositories rank settings as people's do?")
    parser.add_argument("labels", type=Path, help="the folder of queries.jsonl and packages.json")
    parser.add_argument("--queries", type=int, default=400, help="test queries of each package")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work")
    parser.add_argument("--json", type=Path, help="write the scores of every query there")
    given = parser.parse_args()
    work = given.work.resolve()
    asked = labelled.read_queries(given.labels)
    found: dict[str, dict[str, Judged]] = {}
    labels: dict[str, list[tuple[str, bool]]] = {}
    for package in labelled.read_packages(given.labels):
        people = [query for query in asked if query.repo == package.repo]
        with searcher_of(labelled.tree(work, package), package.repo, {"scip": "off"}) as searcher:
            made = read_queries(searcher.version.ensure("eval_queries"), TEST)[: given.queries]
            labels[package.repo] = [(query.label, query.mask is not None) for query in made]
            found[package.repo] = dict(judge(searcher, made, people))
        print(f"{package.repo}: {len(made)} made, {len(people)} of people", file=sys.stderr)
    if given.json:
        rows = {repo: {name: [one.ours, one.theirs] for name, one in of.items()} for repo, of in found.items()}
        given.json.write_text(json.dumps({"labels": labels, "scores": rows}))
    report(found, labels)
    return 0


def report(found: Mapping[str, Mapping[str, Judged]], labels: Mapping[str, Sequence[tuple[str, bool]]]) -> None:
    """One row a setting; then the correlation, of all queries and of each kind of them."""
    theirs = np.array([[statistics.fmean(of[name].theirs) for of in found.values()] for name in VARIANTS])
    kinds: dict[str, Callable[[tuple[str, bool]], bool]] = {
        "all": lambda one: True,
        "masked": lambda one: one[1],
        "plain": lambda one: not one[1],
        **{label: partial(_is_label, label) for label in sorted({label for of in labels.values() for label, _ in of})},
    }
    ours = {kind: _means(found, labels, chosen) for kind, chosen in kinds.items()}
    heads = ["setting", "people", *ours]
    print(f"\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for row, name in enumerate(VARIANTS):
        cells = [theirs[row].mean(), *(np.nanmean(table[row]) for table in ours.values())]
        print(f"| {name} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    print(f"\n| queries | Spearman over {len(VARIANTS)} settings (95 % over packages) |\n|---|---:|")
    for kind, table in ours.items():
        low, high = interval(table, theirs)
        print(f"| {kind} | {spearman(np.nanmean(table, axis=1), theirs.mean(axis=1)):.3f} ({low:.3f} to {high:.3f}) |")


def _is_label(label: str, one: tuple[str, bool]) -> bool:
    return one[0] == label


def _means(
    found: Mapping[str, Mapping[str, Judged]],
    labels: Mapping[str, Sequence[tuple[str, bool]]],
    chosen: Callable[[tuple[str, bool]], bool],
) -> npt.NDArray[np.float64]:
    """The mean over chosen queries [settings, packages]; NaN where a package has none."""
    table = np.full((len(VARIANTS), len(found)), np.nan)
    for column, (repo, of) in enumerate(found.items()):
        kept = [place for place, one in enumerate(labels[repo]) if chosen(one)]
        for row, name in enumerate(VARIANTS):
            if kept:
                table[row, column] = statistics.fmean(of[name].ours[place] for place in kept)
    return table


if __name__ == "__main__":
    raise SystemExit(main())
