"""The top of the page: one sentence, and the few facts that decide whether an index is any good.

Belongs here: what is said first, and whether it is good or bad news. Not here: everything in detail (`sections`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.evaluation.report.figures import counted, decimal, interval, listed, moment, percent, share, signed, within
from pipeline.evaluation.report.markup import Html, beginning, element, join, name
from pipeline.evaluation.report.reading import Shown

_MOST_CHECKS, _MOST_WORDS = 6, 360
_MARKS = {"good": ("✓", "good: "), "bad": ("✗", "problem: "), "note": ("·", "")}


@dataclass(frozen=True, slots=True)
class Point:
    """One thing to know. `kind` is `good`, `bad` or `note`."""

    kind: str
    said: Html


def head(shown: Shown) -> Html:
    """Title, sentence and points."""
    return join([
        element("p", _about(shown), class_="about"),
        element("h1", sentence(shown)),
        element("ul", *(_item(point) for point in _points(shown)), class_="verdict"),
    ])  # fmt: skip


def _item(point: Point) -> Html:
    mark, said = _MARKS[point.kind]
    # The mark is for eyes; those who listen hear the word.
    seen = element("span", mark, class_="mark", aria_hidden="true")
    return element(
        "li", seen, element("span", element("span", said, class_="heard") if said else None, point.said), class_=point.kind
    )


def _about(shown: Shown) -> Html:
    subject = shown.subject
    commit = (
        f"commit {subject.commit[:12]}{' with uncommitted changes' if subject.dirty else ''}" if subject.commit else "no commit"
    )
    version = f"version {subject.version}" if subject.version else "a version that is not published"
    published = f" · published {moment(subject.published_at)}" if subject.published_at else ""
    return join(["Index report · ", name(subject.repository, 60), f" · {version} · {commit}{published}"])


def sentence(shown: Shown) -> str:
    """The headline."""
    fused = shown.metrics.fused
    if fused is None:
        return "This index was not evaluated"
    k = shown.metrics.k
    return (
        f"{percent(fused.hit.mean, 0)} of {counted(fused.queries, 'test query', 'test queries')} find an answer in {within(k)}"
    )


def _points(shown: Shown) -> Iterator[Point]:
    if shown.evaluated:
        yield from _quality(shown)
    else:
        yield Point("note", join(["The setting ", name("eval_queries"), " is 0, or the repository has nothing to ask for."]))
    yield from _broken(shown)
    yield _indexed(shown)
    if shown.coverage.definitions.whole:
        yield _definitions(shown)
    yield from _checks(shown)


def _quality(shown: Shown) -> Iterator[Point]:
    metrics, fused = shown.metrics, shown.metrics.fused
    assert fused is not None  # asked before
    halves = "; ".join(f"{half} queries {decimal(of.ndcg.mean)}" for half, of in sorted(metrics.by_half.items(), reverse=True))
    apart = f": {halves}" if len(metrics.by_half) > 1 else ""
    said = f"nDCG@{metrics.k} is {decimal(fused.ndcg.mean)} ({interval(fused.ndcg)}){apart}."
    yield Point("note", join([element("strong", "Quality. "), said]))
    yield _before(shown)
    if (nearest := metrics.nearest) is not None:
        strong = element("strong", "Vector search. ")
        if nearest.exact:
            yield Point("good", join([strong, "Exact: every nearest vector is found."]))
        else:
            bad = nearest.recall.high < float(shown.subject.settings.get("recall_bound", 0.0))
            found = f"{percent(nearest.recall.mean)} of the {metrics.k} nearest vectors are found"
            yield Point(
                "bad" if bad else "good",
                join([strong, f"{found} at ", name(nearest.parameters), f" ({interval(nearest.recall)})."]),
            )


def _before(shown: Shown) -> Point:
    subject, strong = shown.subject, element("strong", "Against the version before. ")
    compared = subject.comparison
    if compared is None or subject.before is None:
        return Point("note", join([strong, "There is none: this is the first."]))
    if compared.overall is None:
        reason = compared.incomparable or "they share no query"
        return Point(
            "note", join([strong, "Not comparable with ", name(subject.before), ": ", beginning(reason, _MOST_WORDS), "."])
        )
    change, tolerance = compared.overall.ndcg, float(subject.settings.get("quality_tolerance", 0.0))
    queries = counted(compared.overall.queries, "shared query", "shared queries")
    figures = f"nDCG {signed(change.mean)} ({interval(change)}) over {queries}"
    # As the gate has it: a fall counts when its whole interval lies beyond the tolerance.
    if change.high < -tolerance:
        kind, said = "bad", "Worse"
    elif change.low > 0:
        kind, said = "good", "Better"
    else:
        kind, said = "good", "The same" if change.low == change.high == 0 else "No difference that counts"
    moved = f"; {len(compared.better):,} got better and {len(compared.worse):,} worse"
    return Point(kind, join([strong, f"{said}: {figures}{moved}, beside ", name(subject.before), "."]))


def _broken(shown: Shown) -> Iterator[Point]:
    for channel, reason in sorted(shown.metrics.broken.items()):
        yield Point(
            "bad",
            join(
                [
                    element("strong", "A channel is broken. "),
                    name(channel),
                    ": ",
                    element("bdi", beginning(reason, _MOST_WORDS)),
                ]
            ),
        )


def _indexed(shown: Shown) -> Point:
    files, taken = shown.coverage.files, shown.coverage.bytes
    whole = sum(one.files for one in shown.skipped)
    said = f"{files.part:,} of {counted(files.whole, 'file')} {'is' if files.whole == 1 else 'are'} indexed"
    said += f" ({share(taken)} of the bytes)" if taken.whole else ""
    left = f"; left out: {listed({one.reason: one.files for one in shown.skipped}, 4)}" if whole else ""
    return Point("note", join([element("strong", "Contents. "), f"{said}{left}."]))


def _definitions(shown: Shown) -> Point:
    covered, found = shown.coverage.definitions, shown.coverage.found
    bad = covered.part / covered.whole < float(shown.subject.settings.get("coverage_bound", 0.0))
    said = f"{share(covered)} of {counted(covered.whole, 'definition')} lie in every index"
    if found.whole:
        bad = bad or found.part / found.whole < float(shown.subject.settings.get("found_bound", 0.0))
        said += f"; of {found.whole:,} that were asked for, {share(found)} are found in {within(shown.coverage.k)}"
    return Point("bad" if bad else "good", join([element("strong", "Coverage. "), f"{said}."]))


def _checks(shown: Shown) -> Iterator[Point]:
    checks = shown.subject.checks
    failed = [check for check in checks if not check.passed]
    if checks and not failed:
        yield Point("good", join([element("strong", "Checks. "), f"All {len(checks)} hold."]))
    for check in failed[:_MOST_CHECKS]:
        kind = "Check failed. " if check.blocking else "Warning. "
        yield Point(
            "bad",
            join([element("strong", kind), name(check.name), ": ", element("bdi", beginning(check.problems[0], _MOST_WORDS))]),
        )
    if len(failed) > _MOST_CHECKS:
        yield Point("bad", join([f"And {len(failed) - _MOST_CHECKS} more checks failed."]))
