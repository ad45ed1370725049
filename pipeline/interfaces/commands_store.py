"""`indexctl status`, `verify`, `rollback` and `gc`.

Belongs here: looking at what is published, and moving CURRENT among what exists. Not here: building.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.options import Data, Json, Repo, VersionName

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.release.rederivation import Rederived
    from pipeline.release.verification import Verification
    from pipeline.store.layout import Repository, Store

_DAMAGED = "`indexctl build` makes the version anew"
_NOT_MADE_SO = (
    "`indexctl build` would take again what is sealed under the same keys: build into a new store, "
    "`indexctl build PATH --data DIR`"
)
"""What helps where files are not what they were when they were sealed, and where what was sealed does not follow."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("status")(status)
    app.command("verify")(verify)
    app.command("rollback")(rollback)
    app.command("gc")(gc)


def status(
    repo: Repo = None, data: Data = None, json: Json = False,
    losses: Annotated[bool, typer.Option("--losses", help="List every file that was lost, with its reason.")] = False,
) -> None:  # fmt: skip
    """Show what is indexed, how it was built, what was lost, and whether it is behind."""
    from pipeline.errors import CodeIntelError
    from pipeline.interfaces.context import choose_store
    from pipeline.interfaces.output import print_json
    from pipeline.interfaces.statuses import without_version

    store = choose_store(data)
    repositories = [store.existing(repo)] if repo else store.repositories()
    rows = []
    for repository in repositories:
        try:
            rows.append(_status_of(store, repository, every_loss=losses))
        except CodeIntelError as error:
            rows.append(without_version(repository, error))
    if json:
        print_json({"repos": rows})
        return
    if not rows:
        typer.echo(f"nothing is indexed in {store.root}; run `indexctl build PATH`")
        return
    for row in rows:
        _print_status(row)


def _status_of(store: Store, repository: Repository, *, every_loss: bool) -> dict[str, Any]:
    from pipeline.interfaces.looking import freshness_of
    from pipeline.interfaces.statuses import status_of
    from pipeline.store.layout import read_origin, settings_of
    from pipeline.store.versions import open_version

    with open_version(repository) as version:
        fresh = freshness_of(store, repository, version, settings_of(store, read_origin(repository)))
        return status_of(repository, version, fresh, every_loss=every_loss)


def _describe_catalog(catalog: dict[str, Any]) -> str:
    if catalog["problem"]:
        return str(catalog["problem"])
    what = f"{catalog['version'] or 'another format'}{', idmap materialised' if catalog['materialized'] else ''}"
    return f"{what}; behind: run `indexctl idmap views`" if catalog["behind"] else what


def _print_status(row: dict[str, Any]) -> None:
    from pipeline.interfaces.losses import loss_lines
    from pipeline.interfaces.output import describe_counts, moment_of, printable

    if row.get("version") is None:
        typer.echo(f"{row['repo']}: {printable(row['problem'])}")
        return
    state = "being built" if row["building"] else _describe_behind(row) if row["stale"] else "up to date"
    commit = f"{row['commit'][:12]}{' and uncommitted changes' if row['dirty'] else ''}" if row["commit"] else "no commit"
    point = row["operating_point"]
    typer.echo(f"{row['repo']}: {state}")
    for name, value in (
        ("from", f"{printable(row['path'])} ({commit})"),
        ("version", f"{row['version']}, published {moment_of(row['published_at'])}"),
        ("chunks", f"{row['chunks']:,} in {describe_counts(row['languages'], most=6)} files"),
        ("vectors", f"{row['vectors']:,} by {row['embedder']}; FAISS {point['family']}, {_describe_point(point)}"),
        *(("allowed", printable(f"{check}: {' '.join(problems)}")) for check, problems in row["allowed"].items()),
        *loss_lines(row),
        *([("catalog", printable(_describe_catalog(row["catalog"])))] if row["catalog"] else []),
    ):
        typer.echo(f"  {name:<9}{value}")
    for loss in row.get("losses", []):
        typer.echo(f"  {printable(loss['uri'])}: {loss['artefact']}: {printable(loss['reason'])}")


def _describe_behind(row: dict[str, Any]) -> str:
    """`behind by 2 files in 1 commit: run `indexctl build``."""
    from pipeline.interfaces.output import counts, printable

    files, commits, reason = (row["behind"][name] for name in ("files", "commits", "reason"))
    words = [f"behind by {counts(files, 'file')}" if files else "behind"]
    words += [f"in {counts(commits, 'commit')}"] if commits else []
    words += [f"({printable(reason).rstrip('.')})"] if reason else []
    return f"{' '.join(words)}: run `indexctl build`"


def _describe_point(point: dict[str, Any]) -> str:
    """`nprobe=24, k-factor 2, recall@10 0.994 (0.990–0.997), locked`."""
    if point["exact"]:
        return "exact"
    recall = point["tuning"]
    known = (
        f"recall@{point['k']} {recall['recall']:.3f} ({recall['low']:.3f}–{recall['high']:.3f})" if recall else "recall unknown"
    )
    words = [point["parameters"], f"k-factor {point['k_factor']:g}", known, "locked" if point["locked"] else ""]
    return ", ".join(word for word in words if word)


def verify(
    version: VersionName = None, repo: Repo = None, data: Data = None, json: Json = False,
    deep: Annotated[bool, typer.Option("--deep", help="Make a sample of the version again from its own sources, too.")] = False,
) -> None:  # fmt: skip
    """Read a version again from the first byte to the last and check everything that must hold."""
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.interfaces.output import print_json
    from pipeline.release.verification import verify_folder
    from pipeline.store.revisions import named
    from pipeline.store.versions import current_name, open_version

    repository = choose_repository(choose_store(data), repo)
    name = named(repository, version) if version else current_name(repository)
    # Only a manifest that can be read can be pinned; the damage of another one is for `verify_folder` to tell.
    folder = repository.versions / name if name else None
    if folder is None or not folder.is_dir():
        open_version(repository, name).close()
    assert folder is not None  # opening refused otherwise
    result = verify_folder(folder)
    if not result.ok:
        _forget_digests(repository, folder.name)
    made_again = _made_again(folder) if deep and result.ok else []
    problems = [{"artefact": problem.artefact, "problem": problem.problem} for problem in result.problems]
    problems.extend({"artefact": one.asset, "problem": text} for one in made_again for text in one.finding.problems)
    checked = result.checked + len(made_again)
    if json:
        skipped = {"not_made_again": {one.asset: one.skipped for one in made_again if one.skipped}} if deep else {}
        print_json({"ok": not problems, "version": folder.name, "checked": checked, "problems": problems, **skipped})
    else:
        _print_verification(result, made_again, checked, len(problems))
    if problems:
        raise typer.Exit(1)


def _made_again(folder: Path) -> list[Rederived]:
    from pipeline.release.rederivation import rederive
    from pipeline.store.versions import read_manifest

    return list(rederive(folder, read_manifest(folder)))


def _forget_digests(repository: Repository, name: str) -> None:
    """Damage that left size and time of a file alone is unknown to readers and builders: now they learn of it."""
    from pipeline.store import digests
    from pipeline.store.versions import remember_digests

    remember_digests(repository, name, {})
    # This process has just read the files; what it knows of them goes before what was known.
    digests.recall(repository)
    digests.remember(repository)


def _print_verification(result: Verification, made_again: Sequence[Rederived], checked: int, problems: int) -> None:
    from pipeline.interfaces.output import counts, printable

    warned = {problem.problem.partition(": ")[0] for problem in result.warnings}
    for check, finding in result.findings.items():
        typer.echo(f"  {'✓' if finding.passed else '!' if check in warned else '✗'} {check}")
    for problem in (*result.problems, *result.warnings):
        typer.echo(printable(f"    {problem.artefact}: {problem.problem}"))
    for one in made_again:
        state = (
            f"– {one.asset}: {one.skipped}" if one.skipped else f"{'✓' if one.finding.passed else '✗'} {one.asset} made again"
        )
        typer.echo(printable(f"  {state}"))
        for text in one.finding.problems:
            typer.echo(printable(f"    {one.asset}: {text}"))
    verdict = counts(problems, "problem") if problems else "everything holds"
    typer.echo(f"{result.version}: {verdict}, {checked} things checked")
    if problems:
        sys.stderr.write(f"{_DAMAGED if result.problems else _NOT_MADE_SO}; `indexctl rollback` returns to another\n")


def rollback(
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Else the one that was current before.")] = None,
    repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Make an earlier version current again, after verifying it."""
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.interfaces.output import print_json
    from pipeline.release import switching
    from pipeline.store.revisions import named

    repository = choose_repository(choose_store(data), repo)
    done = switching.rollback(repository, named(repository, version) if version else None)
    if json:
        print_json({"repo": repository.name, "version": done.version, "previous": done.previous, "flipped": done.flipped})
    elif done.flipped:
        typer.echo(f"{repository.name}: {done.previous} -> {done.version}")
    else:
        typer.echo(f"{repository.name}: {done.version} is current already")


def gc(
    keep: Annotated[int, typer.Option("--keep", min=0, metavar="N", help="Versions that stay beside the published one.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    repo: Repo = None, data: Data = None, json: Json = False,
) -> None:  # fmt: skip
    """Remove old versions and what only they need; what is published, read by somebody or kept stays."""
    from pipeline.evaluation.report.figures import size
    from pipeline.interfaces.context import choose_repository, choose_store
    from pipeline.interfaces.output import counts, print_json
    from pipeline.release.collection import collect

    repository = choose_repository(choose_store(data), repo)
    done = collect(repository, keep=keep, dry_run=dry_run)
    if json:
        print_json({
            "repo": repository.name, "dry_run": dry_run, "bytes": done.bytes, "versions": list(done.versions),
            "objects": list(done.objects), "beside": list(done.beside),
            "kept": [{"version": one.version, "reason": one.reason} for one in done.kept],
        })  # fmt: skip
        return
    for one in done.kept:
        typer.echo(f"  kept     {one.version}  {one.reason}")
    for name in done.versions:
        typer.echo(f"  {'would go' if dry_run else 'removed '} {name}")
    what = f"{counts(len(done.versions), 'version')} and {counts(len(done.objects), 'object')}"
    typer.echo(f"{repository.name}: {what} {'would go' if dry_run else 'removed'}, {size(done.bytes)} freed")
