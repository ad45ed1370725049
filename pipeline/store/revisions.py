"""Which versions there are of which commits, and which one is meant by the beginning of a name.

Belongs here: finding versions by what people call them. Not here: opening them (`versions`), or asking git what a revision is
(`source.freshness`).
"""

from __future__ import annotations

import re

import msgspec

from pipeline.errors import NotFoundError, QueryError
from pipeline.store import versions
from pipeline.store.layout import Repository

_HASH = re.compile(r"[0-9a-f]{4,40}")
_MOST_NAMED = 5


class _Head(msgspec.Struct):
    """The part of a manifest that is asked for here; whoever opens the version checks all of it."""

    commit: str | None
    dirty: bool


def named(repository: Repository, text: str) -> str:
    """The version whose name is, or alone begins with, `text`; `text` itself where there is none.

    The `v-` may be left out. Raises `QueryError` where several begin so.
    """
    names = versions.version_names(repository)
    if text in names:
        return text
    found = [name for name in names if text and (name.startswith(text) or name.removeprefix("v-").startswith(text))]
    if len(found) > 1:
        shown = ", ".join(found[:_MOST_NAMED]) + (" and more" if found[_MOST_NAMED:] else "")
        raise QueryError(f"Several versions begin with `{text}`: {shown}.", hint="Give more of the name.")
    return found[0] if found else text


def of_commit(repository: Repository, commit: str) -> str | None:
    """The newest version of a commit and of nothing else; None where there is none."""
    return _newest(repository, {name for name, of in _clean(repository).items() if of == commit})


def of_commit_beginning(repository: Repository, text: str) -> str | None:
    """The newest version of the commit whose hash begins with `text`, for repositories that are gone; None where there is none.

    Raises `QueryError` where the hashes of several commits begin so.
    """
    if not _HASH.fullmatch(text):
        return None
    clean = {name: commit for name, commit in _clean(repository).items() if commit.startswith(text)}
    if len(set(clean.values())) > 1:
        shown = ", ".join(sorted({commit[:12] for commit in clean.values()})[:_MOST_NAMED])
        raise QueryError(f"Several commits begin with `{text}`: {shown}.", hint="Give more of the hash.")
    return _newest(repository, set(clean))


def not_built(repository: Repository, path: str, rev: str, commit: str | None) -> NotFoundError:
    """What to raise when no version is of a revision that exists."""
    known = f" (commit {commit[:12]})" if commit is not None and not commit.startswith(rev) else ""
    return NotFoundError(
        f"No version of `{repository.name}` was built from {rev}{known}.", hint=f"Run `indexctl build {path} --rev {rev}`."
    )


def _clean(repository: Repository) -> dict[str, str]:
    """Version -> commit, of those that are a commit and nothing else. What cannot be read is no answer to anything."""
    found = {}
    for name in versions.version_names(repository):
        try:
            head = msgspec.json.decode((repository.versions / name / versions.MANIFEST).read_bytes(), type=_Head)
        except (OSError, msgspec.DecodeError):
            continue
        if head.commit is not None and not head.dirty:
            found[name] = head.commit
    return found


def _newest(repository: Repository, names: set[str]) -> str | None:
    return next((name for name, _ in versions.newest_first(repository, sorted(names))), None)
