"""Fits the settings of ranking to labelled queries, with cross-validation over repositories.

    .venv/bin/python benchmarks/fit_ranking.py LABELS [--docstrings 300] [--rounds 2] [--folds] [--work DIR]

Coordinate descent over a table of settings, each tried at a few values around the present one; the goal is the mean NDCG@10
(half with line spans, half files alone), and with `--docstrings` as much again of the mean reciprocal rank from docstrings to
definitions. A value is taken when it gains more than `LEAST`. `--folds` fits once without each repository and scores that one
with what the others chose: the figure to believe. Prints what it found; nothing is written.

Belongs here: the search over settings. Not here: labels (`labelled`), scores (`scoring`), ranking itself.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import docstrings
import labelled
import msgspec
from indexed import searcher_of
from scoring import K, Place, Target, ndcg, ranks_of

from pipeline.config import SearchSettings
from pipeline.search.engine import Searcher

LEAST = 0.0005
"""What a change must gain: less is noise, and the default is the better known."""
FACTORS = (0.5, 0.7, 1.4, 2.0)
"""What a setting's present value is multiplied by; and where it is 0, the values of `FROM_ZERO` are tried."""
FROM_ZERO = (0.1, 0.25, 0.5, 1.0)
FITTED = (
    "dense_weight question_dense_factor phrase_dense_factor name_dense_factor sentence_dense_factor symbol_weight "
    "plain_word_factor embedded_name_factor names_boost path_boost file_name_boost test_factor docs_factor example_factor "
    "superseded_factor private_factor stub_factor reexport_factor same_file_factor question_file_evidence "
    "phrase_file_evidence file_name_match folder_match"
).split()
_WITHOUT_INDEXERS = {"scip": "off"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A repository's searcher with its queries: (text, targets)."""

    repo: str
    searcher: Searcher
    queries: Sequence[tuple[str, Sequence[Target]]]
    docs: bool = False

    def scores(self, settings: SearchSettings) -> list[float]:
        """What each query gets."""
        self.searcher.opened.settings = settings
        found = []
        for text, targets in self.queries:
            hits = [Place(hit.uri, hit.start_line, hit.end_line) for hit in self.searcher.search(text, K) if hit.score > 0]
            if self.docs:
                rank = ranks_of(targets, hits)[0]
                found.append(1 / rank if rank else 0.0)
            else:
                anywhere = [Target(one.uri) for one in targets]
                found.append((ndcg(ranks_of(targets, hits)) + ndcg(ranks_of(anywhere, hits))) / 2)
        return found


def goal(scores: Mapping[str, Sequence[float]], judged: Sequence[Judged]) -> float:
    """The mean over labelled queries, and where there are docstrings, plus the mean of their packages' means."""
    labelled_scores = [score for one in judged if not one.docs for score in scores[one.repo]]
    docs = [statistics.fmean(scores[one.repo]) for one in judged if one.docs]
    return statistics.fmean(labelled_scores) + (statistics.fmean(docs) if docs else 0.0)


def values(name: str, settings: SearchSettings) -> list[float]:
    """What to try of a setting."""
    now = float(getattr(settings, name))
    if now == 0:
        return list(FROM_ZERO)
    tried = [round(now * factor, 3) for factor in FACTORS]
    if name.endswith("_factor") and not name.endswith("_dense_factor"):
        tried = sorted({min(1.0, value) for value in tried} - {now})
    return [*tried, 0.0] if not name.endswith("_factor") else tried


class Fit:
    """Coordinate descent; every repository's scores under every setting are kept, so that folds share them."""

    def __init__(self, judged: Sequence[Judged]) -> None:
        self.judged = judged
        self._known: dict[tuple[str, bytes], list[float]] = {}

    def scores(self, settings: SearchSettings) -> dict[str, list[float]]:
        """By repository."""
        key = msgspec.json.encode(settings)
        for one in self.judged:
            if (one.repo, key) not in self._known:
                self._known[one.repo, key] = one.scores(settings)
        return {one.repo: self._known[one.repo, key] for one in self.judged}

    def run(self, start: SearchSettings, names: Sequence[str], rounds: int, without: str = "", *, tell: bool) -> SearchSettings:
        """The settings that descent arrives at, judged by all repositories but one."""
        judged = [one for one in self.judged if one.repo != without]
        best, reached = start, goal(self.scores(start), judged)
        for _ in range(rounds):
            before = reached
            for name in names:
                for value in values(name, best):
                    tried = msgspec.structs.replace(best, **{name: value})
                    got = goal(self.scores(tried), judged)
                    if got > reached + LEAST:
                        if tell:
                            print(f"{reached:.4f} -> {got:.4f}  {name} = {value:g}", file=sys.stderr)
                        best, reached = tried, got
            if reached <= before + LEAST:
                break
        return best


def main() -> int:
    """Fit and print."""
    parser = argparse.ArgumentParser(description="Fit the settings of ranking.")
    parser.add_argument("labels", type=Path, help="the folder of queries.jsonl and packages.json")
    parser.add_argument("--docstrings", type=int, default=0, metavar="N", help="so many docstrings of each package, too")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--settings", nargs="*", default=FITTED, metavar="NAME", help="only these")
    parser.add_argument("--folds", action="store_true", help="cross-validate over repositories")
    parser.add_argument("--work", type=Path, default=Path(__file__).parent / ".work")
    given = parser.parse_args()
    work = given.work.resolve()
    queries = labelled.read_queries(given.labels)
    with ExitStack() as stack:
        judged = []
        for package in labelled.read_packages(given.labels):
            searcher = stack.enter_context(searcher_of(labelled.tree(work, package), package.repo, _WITHOUT_INDEXERS))
            asked = [(query.text, query.targets) for query in queries if query.repo == package.repo]
            judged.append(Judged(package.repo, searcher, asked))
        for requirement in docstrings.PACKAGES if given.docstrings else ():
            tree, described = docstrings.prepared(work, requirement)
            random.Random(1).shuffle(described)
            searcher = stack.enter_context(searcher_of(tree, requirement.partition("==")[0], docstrings._GIVEN))
            asked = [(one.text, [Target(one.uri, one.line, one.line)]) for one in described[: given.docstrings]]
            judged.append(Judged(requirement, searcher, asked, docs=True))
        report(judged, given.settings, given.rounds, folds=given.folds)
    return 0


def report(judged: Sequence[Judged], names: Sequence[str], rounds: int, *, folds: bool) -> None:
    """What was found, and where asked what it is worth on repositories that it was not found on."""
    fit, start = Fit(judged), judged[0].searcher.opened.settings
    best = fit.run(start, names, rounds, tell=True)
    print("\n| setting | now | found |\n|---|---:|---:|")
    for name in names:
        if getattr(best, name) != getattr(start, name):
            print(f"| {name} | {getattr(start, name):g} | {getattr(best, name):g} |")
    print(f"\nGoal: {goal(fit.scores(start), judged):.4f} now, {goal(fit.scores(best), judged):.4f} fitted.")
    for one in judged:
        old, new = statistics.fmean(fit.scores(start)[one.repo]), statistics.fmean(fit.scores(best)[one.repo])
        print(f"  {one.repo}: {old:.3f} -> {new:.3f}")
    if folds:
        held = {one.repo: fit.scores(fit.run(start, names, rounds, one.repo, tell=False))[one.repo] for one in judged}
        print(f"Cross-validated, each repository by what the others chose: {goal(held, judged):.4f}.")


if __name__ == "__main__":
    raise SystemExit(main())
