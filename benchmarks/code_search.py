"""How well labelled queries find their files: NDCG@10 by category, language, repository and channel, beside semble.

    .venv/bin/python benchmarks/code_search.py LABELS [--semble] [--json FILE] [--compare FILE] [--at-least 0.9] [--work DIR]

LABELS holds `queries.jsonl` and `packages.json`. A query's targets are files, or lines of them; results are chunks; a target
counts at the first result that meets it (`scoring`). Labels were made on other revisions than the packages', so some spans are
off: the column `files alone` ignores them. Indexes are kept in `--work`, and a change of ranking alone searches again
without indexing. Settings from the environment (`CODEINTEL_DENSE_WEIGHT=0.3`) count for the searches.

Belongs here: asking, and the tables. Not here: labels and downloads (`labelled`), scores (`scoring`), indexes (`indexed`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import labelled
import msgspec
import numpy as np
from indexed import searcher_of
from labelled import Query
from peers import Semble
from scoring import K, Place, Target, ndcg, ranks_of, show_interval

from pipeline.config import SearchSettings
from pipeline.search.channels.registry import State
from pipeline.search.engine import Searcher

FORMAT = 1
"""Of `--json`."""
CATEGORIES = ("semantic", "architecture", "symbol")
DEFAULT = "all channels"
_WITHOUT_INDEXERS = {"scip": "off"}
"""Else as users have it. Indexers take long, and search does not read what they find."""
STAND_IN = "semble 0.7 with WordLlama's table, a stand-in for its weights"
CITED = {"CodeRankEmbed hybrid": 0.862, "LateOn-Code": 0.859, "semble": 0.854}
"""Published NDCG@10 on the whole benchmark, of which LABELS may be a part: citations, not measured here."""


@dataclass(slots=True)
class Outcome:
    """What a way of searching answered to each query, in the order of the queries; latencies in milliseconds."""

    label: str
    results: list[list[Place]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    def scores(self, queries: Sequence[Query], *, spans: bool = True) -> list[float]:
        """NDCG@10 of each query; without `spans`, any chunk of a target's file meets it."""
        targets = [query.targets if spans else [Target(one.uri) for one in query.targets] for query in queries]
        return [ndcg(ranks_of(wanted, found)) for wanted, found in zip(targets, self.results, strict=True)]


def variants(searcher: Searcher) -> dict[str, SearchSettings]:
    """The settings as they are, with each channel alone, and with each off; only channels that the version has."""
    settings = searcher.opened.settings
    told = searcher.answer("any").channels
    names = [name for name, one in told.items() if one.state is not State.OFF]
    found = {DEFAULT: settings}
    for name in names:
        others = {f"{other}_weight": 0.0 for other in names if other != name}
        found[f"{name} alone"] = msgspec.structs.replace(settings, **others)
    for name in names:
        found[f"without {name}"] = msgspec.structs.replace(settings, **{f"{name}_weight": 0.0})
    return found


def answer(searcher: Searcher, texts: Sequence[str], outcome: Outcome) -> None:
    """Ask one repository's queries; a warm-up comes first and is not counted."""
    searcher.search(texts[0], K)
    for text in texts:
        started = time.perf_counter()
        hits = searcher.search(text, K)
        outcome.milliseconds.append((time.perf_counter() - started) * 1e3)
        # With weights of 0 what only other channels know has a score of 0: it was not found.
        outcome.results.append([Place(hit.uri, hit.start_line, hit.end_line) for hit in hits if hit.score > 0])


def of_ours(labels: Path, work: Path, queries: Sequence[Query], *, ablation: bool) -> list[Outcome]:
    """The outcome of each variant; `queries` lie together by repository."""
    outcomes: dict[str, Outcome] = {}
    for package in labelled.read_packages(labels):
        texts = [query.text for query in queries if query.repo == package.repo]
        if not texts:
            continue
        tree = labelled.tree(work, package)
        with searcher_of(tree, package.repo, _WITHOUT_INDEXERS) as searcher:
            for name, settings in variants(searcher).items():
                if ablation or name == DEFAULT:
                    searcher.opened.settings = settings
                    answer(searcher, texts, outcomes.setdefault(name, Outcome(name)))
    return list(outcomes.values())


def of_semble(labels: Path, work: Path, queries: Sequence[Query]) -> Outcome:
    """semble over the same trees, in an environment of its own."""
    outcome = Outcome(STAND_IN)
    asked = {query.repo for query in queries}
    trees = {one.repo: labelled.tree(work, one) for one in labelled.read_packages(labels) if one.repo in asked}
    questions = [(tree, [query.text for query in queries if query.repo == repo]) for repo, tree in trees.items()]
    for found in Semble(work, work, 0).places(questions):
        outcome.milliseconds.extend(one["milliseconds"] for one in found)
        outcome.results.extend([Place(*place) for place in one["places"]] for one in found)
    return outcome


def in_order(queries: Sequence[Query], labels: Path) -> list[Query]:
    """Queries of known packages, those of a repository together, in the packages' order."""
    places = {package.repo: place for place, package in enumerate(labelled.read_packages(labels))}
    return sorted((query for query in queries if query.repo in places), key=lambda query: places[query.repo])


def table(title: str, queries: Sequence[Query], outcomes: Sequence[Outcome]) -> None:
    """One row an outcome: overall with its interval, by category, with targets' spans ignored, and latencies."""
    heads = [title, f"NDCG@{K} (95 %)", *CATEGORIES, "files alone", "median ms", "p95 ms"]
    print(f"\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
    for outcome in outcomes:
        scores = outcome.scores(queries)
        parts = [_mean(scores, [query.category == one for query in queries]) for one in CATEGORIES]
        parts.append(statistics.fmean(outcome.scores(queries, spans=False)))
        times = [statistics.median(outcome.milliseconds), float(np.percentile(outcome.milliseconds, 95))]
        cells = [show_interval(scores), *(f"{part:.3f}" for part in parts), *(f"{value:.1f}" for value in times)]
        print(f"| {outcome.label} | {' | '.join(cells)} |")


def breakdown(title: str, queries: Sequence[Query], outcomes: Sequence[Outcome], group: Callable[[Query], str]) -> None:
    """One row a group of queries, one column an outcome."""
    print(f"\n| {title} | queries | {' | '.join(one.label for one in outcomes)} |\n|---|---:|{'---:|' * len(outcomes)}")
    scores = [one.scores(queries) for one in outcomes]
    for name in dict.fromkeys(map(group, queries)):
        chosen = [group(query) == name for query in queries]
        print(f"| {name} | {sum(chosen)} | {' | '.join(f'{_mean(each, chosen):.3f}' for each in scores)} |")


def _mean(scores: Sequence[float], chosen: Sequence[bool]) -> float:
    kept = [score for score, one in zip(scores, chosen, strict=True) if one]
    return statistics.fmean(kept) if kept else float("nan")


def as_json(queries: Sequence[Query], outcomes: Sequence[Outcome]) -> dict[str, object]:
    """What `--json` writes: for each outcome and query the targets' ranks, the score and the results."""
    return {
        "format": FORMAT,
        "queries": [msgspec.to_builtins(query) for query in queries],
        "outcomes": {
            outcome.label: [
                {
                    "ndcg": ndcg(ranks),
                    "ranks": ranks,
                    "milliseconds": round(spent, 3),
                    "results": [msgspec.to_builtins(one) for one in found],
                }
                for ranks, spent, found in _ranked(queries, outcome)
            ]
            for outcome in outcomes
        },
    }


def _ranked(queries: Sequence[Query], outcome: Outcome) -> Iterator[tuple[list[int], float, list[Place]]]:
    for query, spent, found in zip(queries, outcome.milliseconds, outcome.results, strict=True):
        yield ranks_of(query.targets, found), spent, found


def compare(before: dict[str, object], now: dict[str, object]) -> str:
    """Which queries the default answers better or worse than before, and the paired interval of the difference.

    Queries that only one of the two has are left out, and counted.
    """
    pairs = _paired(before, now)
    lines = [
        f"\n{len(pairs)} queries in both.\n",
        "| queries | before | now | difference (95 %, paired) |",
        "|---|---:|---:|---:|",
    ]
    for name in ("all", *CATEGORIES):
        kept = [(old, new) for query, old, new in pairs if name in ("all", query["category"])]
        if kept:
            olds, news = zip(*((old["ndcg"], new["ndcg"]) for old, new in kept), strict=True)
            difference = show_interval([new - old for old, new in zip(olds, news, strict=True)], signed=True)
            lines.append(f"| {name} | {statistics.fmean(olds):.3f} | {statistics.fmean(news):.3f} | {difference} |")
    changed = sorted(
        (pair for pair in pairs if pair[1]["ndcg"] != pair[2]["ndcg"]), key=lambda one: one[1]["ndcg"] - one[2]["ndcg"]
    )
    better = [pair for pair in changed if pair[2]["ndcg"] > pair[1]["ndcg"]]
    for title, rows in (("Better", better), ("Worse", changed[len(better) :][::-1])):
        lines.append(f"\n{title}: {len(rows)}")
        lines += [
            f"  {old['ndcg']:.3f} -> {new['ndcg']:.3f}  ranks {old['ranks']} -> {new['ranks']}  {one['repo']}: {one['text']}"
            for one, old, new in rows
        ]
    return "\n".join(lines)


def _paired(before: dict, now: dict) -> list[tuple[dict, dict, dict]]:
    """(query, what it got before, what it gets now) by repository and text."""
    if before.get("format") != FORMAT:
        raise SystemExit("The file to compare with was not written by this version of the script: write it again with --json.")

    def by_query(run: dict) -> dict[tuple[str, str], tuple[dict, dict]]:
        return {
            (query["repo"], query["text"]): (query, one)
            for query, one in zip(run["queries"], run["outcomes"][DEFAULT], strict=True)
        }

    old, new = by_query(before), by_query(now)
    return [(new[key][0], old[key][1], new[key][1]) for key in new if key in old]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="NDCG@10 of labelled code-search queries.")
    parser.add_argument("labels", type=Path, help="the folder of queries.jsonl and packages.json")
    parser.add_argument("--semble", action="store_true", help="measure semble on the same trees, too")
    parser.add_argument("--no-ablation", action="store_true", help="all channels together only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every query's results there")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="say what changed since a file that --json wrote")
    parser.add_argument("--at-least", type=float, default=0.0, help="exit with 1 when NDCG@10 is lower")
    parser.add_argument(
        "--work", type=Path, default=Path(__file__).parent / ".work", help="where downloads and indexes are kept"
    )
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not all((given.labels / name).is_file() for name in ("queries.jsonl", "packages.json")):
        parser.error(f"{given.labels} does not hold queries.jsonl and packages.json.")
    queries = in_order(labelled.read_queries(given.labels), given.labels)
    if not queries:
        parser.error(f"No query of {given.labels} asks about a package of packages.json.")
    before = json.loads(given.compare.read_text("utf-8")) if given.compare else None
    outcomes = of_ours(given.labels, work, queries, ablation=not given.no_ablation)
    main_ones = [outcomes[0], *([of_semble(given.labels, work, queries)] if given.semble else [])]
    table("tool", queries, main_ones)
    cited = ", ".join(f"{name} {value}" for name, value in CITED.items())
    print(f"\nPublished on the whole benchmark (citations, not measured here): {cited}.")
    spoken = labelled.languages(queries)
    breakdown("language", queries, main_ones, lambda query: spoken[query.repo])
    breakdown("repository", queries, main_ones, lambda query: query.repo)
    if outcomes[1:]:
        table("channels", queries, outcomes)
    document = as_json(queries, [*outcomes, *main_ones[1:]])
    if before:
        print(compare(before, document))
    if given.json:
        given.json.write_text(json.dumps(document), "utf-8")
    return int(statistics.fmean(outcomes[0].scores(queries)) < given.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
