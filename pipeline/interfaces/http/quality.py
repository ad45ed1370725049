"""What is told of versions and their quality: the answers of `/versions` and `/quality`.

Belongs here: putting together what a version's evaluation, its coverage and its history say, small enough for a page. Not here:
reading them (`interfaces.evaluation`, `pipeline.evaluation`).
"""

from __future__ import annotations

import msgspec
import pyarrow as pa

from pipeline.errors import CodeIntelError, IndexCorruptionError, NotFoundError
from pipeline.interfaces import answers
from pipeline.interfaces.serving.service import Json, Service
from pipeline.store.versions import Version

_MOST_MODULES = 40
_MOST_MISSED = 20
_MOST_HISTORY = 50


def versions(service: Service, repo: str | None) -> Json:
    """The versions of a repository, the latest published first."""
    from pipeline.interfaces.statuses import versions_of

    repository = service.shelf.repository(repo)
    return {"repo": repository.name, "versions": versions_of(repository)}


def quality(service: Service, repo: str | None, name: str | None) -> Json:
    """What is known of the quality of a version. Where a part of it is not there, `problems` says why."""
    from pipeline.evaluation.history import history

    with service.shelf.taken(repo, name) as volume:
        version = volume.searcher.version
        fresh = service.freshness.of(version)
        problems: dict[str, str] = {}
        evaluation: Json | None = None
        coverage: Json | None = None
        try:
            evaluation = _evaluation(version, stale=fresh.stale)
        except CodeIntelError as error:
            problems["evaluation"] = str(error)
        try:
            coverage = _coverage(version)
        except CodeIntelError as error:
            problems["coverage"] = str(error)
        entries = history(volume.repository)[-_MOST_HISTORY:]
        return {
            **answers.head(version, fresh), "evaluation": evaluation, "coverage": coverage,
            "history": msgspec.to_builtins(entries), "problems": problems,
        }  # fmt: skip


def _evaluation(version: Version, *, stale: bool) -> Json:
    from pipeline.interfaces.evaluation import stored
    from pipeline.schemas import EvalMetrics

    if EvalMetrics.asset not in version.manifest.artefacts:
        raise NotFoundError(f"{version.name} was built without an evaluation.", hint="Run `indexctl build` with this version.")
    report = stored(version, stale=stale)
    return {
        "asked": report.asked, "metrics": msgspec.to_builtins(report.document), "points": [dict(one) for one in report.points],
        "missed": [dict(one) for one in report.examples(_MOST_MISSED)],
    }  # fmt: skip


def _coverage(version: Version) -> Json:
    from pipeline.evaluation.coverage_reading import read_tree, worst_first
    from pipeline.evaluation.document import read_coverage

    if "coverage" not in version.manifest.artefacts:
        raise NotFoundError(f"{version.name} was built without coverage.", hint="Run `indexctl build` with this version.")
    folder = version.ensure("coverage")
    try:
        document, tree = read_coverage(folder), read_tree(folder)
        top = tree.find("")
        modules = [] if top is None else worst_first(tree.cut(top, _MOST_MODULES))
    except (OSError, msgspec.MsgspecError, pa.ArrowException, KeyError) as error:
        raise IndexCorruptionError(
            f"The coverage of {version.name} cannot be read: {type(error).__name__}.",
            hint="Run `indexctl verify`, then `indexctl build`.",
        ) from error
    return {**msgspec.to_builtins(document), "modules": [module.as_json() for module in modules]}
