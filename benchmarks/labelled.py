"""A labelled set of code-search queries: `queries.jsonl`, and the packages that they ask about, from their registries.

Belongs here: reading the labels, downloading and unpacking. Not here: indexing and searching (`code_search`), scores
(`scoring`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import corpus
from measure import environment
from scoring import Target

_LANGUAGES = {".py": "Python", ".js": "JavaScript", ".ts": "TypeScript"}


@dataclass(frozen=True, slots=True)
class Query:
    """A question about a repository, and what answers it."""

    repo: str
    text: str
    category: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Package:
    """Where a repository's source is had from: a registry's package, and the folder of it that is the corpus."""

    repo: str
    registry: str
    requirement: str
    root: str


def read_queries(folder: Path) -> list[Query]:
    """The queries of `queries.jsonl`, in order."""
    return [_query(json.loads(line)) for line in (folder / "queries.jsonl").read_text("utf-8").splitlines() if line.strip()]


def _query(row: dict) -> Query:
    targets = (
        Target(one) if isinstance(one, str) else Target(one["path"], one["start_line"], one["end_line"])
        for one in row["relevant"]
    )
    return Query(row["repo"], row["query"], row["category"], tuple(targets))


def read_packages(folder: Path) -> list[Package]:
    """The packages of `packages.json`, in order."""
    rows = json.loads((folder / "packages.json").read_text("utf-8"))
    return [
        Package(
            repo, row["registry"], f"{row['package']}{'==' if row['registry'] == 'pypi' else '@'}{row['version']}", row["root"]
        )
        for repo, row in rows.items()
    ]


def languages(queries: Sequence[Query]) -> dict[str, str]:
    """The language of each repository: that of most of its targets."""
    seen: dict[str, Counter[str]] = {}
    for query in queries:
        names = (_LANGUAGES.get(Path(target.uri).suffix, "other") for target in query.targets)
        seen.setdefault(query.repo, Counter()).update(names)
    return {repo: names.most_common(1)[0][0] for repo, names in seen.items()}


def tree(work: Path, package: Package) -> Path:
    """A git repository of one commit that holds the package's corpus under its own name, downloaded and unpacked once.

    Were the corpus the root, `app.py` would be a suffix of the target `src/flask/sansio/app.py`, and meet it.
    """
    root = work / "trees" / package.requirement.replace("/", "-") / package.repo
    if (root / ".git" / "refs" / "heads" / "main").is_file():
        return root
    shutil.rmtree(root, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        if package.registry == "npm":
            with tarfile.open(_packed(work, package.requirement)) as archive:
                archive.extractall(scratch, filter="data")
        else:
            with zipfile.ZipFile(corpus.download(work, package.requirement)) as wheel:
                wheel.extractall(scratch)
        root.mkdir(parents=True)
        shutil.move(Path(scratch, package.root), root)  # Into it, under its own name.
    corpus.commit(root, package.requirement)
    return root


def _packed(work: Path, requirement: str) -> Path:
    """The tarball of an npm package, downloaded once."""
    folder = work / "packed" / requirement.replace("/", "-")
    if not list(folder.glob("*.tgz")):
        corpus.say(f"Downloading {requirement} …")
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), requirement]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"npm pack {requirement} failed:\n{done.stderr[-2000:]}")
    return next(folder.glob("*.tgz"))
