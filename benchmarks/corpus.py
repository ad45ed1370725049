"""What everything is measured on: the source of Django, and the questions asked of it.

Belongs here: pinned downloads, the unpacked tree, queries and the answers that are expected. Not here: who answers them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from measure import environment

DJANGO = "Django==5.2.19"

QUERIES = (
    "how are migrations applied",
    "QuerySet",
    "password hashing",
    "csrf token validation",
    "render a template to a string",
    "resolve a url to a view",
    "ManyToManyField",
    "session expiry",
    "cache backend that stores values in memory",
    "prefetch_related",
    "where are signals dispatched",
    "form field validation errors",
    "admin change list pagination",
    "compile a query to SQL",
    "atomic transaction savepoint",
    "uploaded file handlers",
    "translate a message with plural forms",
    "get_object_or_404",
    "connection pooling of the database",
    "static files storage manifest",
)
"""Sentences, names and phrases, as people and agents ask them."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A file that must be that of one of the first `within` results."""

    query: str
    uri: str
    within: int


EXPECTATIONS = (
    Expectation("how are migrations applied", "django/db/migrations/executor.py", 3),
    Expectation("QuerySet", "django/db/models/query.py", 1),
    Expectation("password hashing", "django/contrib/auth/hashers.py", 3),
)


def say(text: str) -> None:
    """Progress, on stderr; the result alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def environment_with(work: Path, name: str, *requirements: str) -> Path:
    """The interpreter of a virtual environment of its own under `work`, made once for these requirements."""
    root = work / "env" / name
    python = root / "bin" / "python"
    done = root / "installed.txt"
    wanted = "\n".join(requirements)
    if done.is_file() and done.read_text() == wanted:
        return python
    say(f"Making the environment `{name}` …")
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", root], check=True, env=environment())
    if requirements:
        _pip(python, "install", *requirements)
    done.write_text(wanted)
    return python


def download(work: Path, requirement: str) -> Path:
    """The wheel of a pinned requirement, downloaded once."""
    folder = work / "wheels" / requirement.replace("==", "-")
    if not list(folder.glob("*.whl")):
        say(f"Downloading {requirement} …")
        python = environment_with(work, "fetch")
        _pip(python, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement)
    return next(folder.glob("*.whl"))


def unpacked(work: Path, requirement: str) -> Path:
    """What is in the wheel of a pinned requirement, unpacked once, without a repository around it. Not to be changed."""
    root = work / "trees" / requirement.replace("==", "-")
    done = root.with_name(f"{root.name}.done")
    if not done.is_file():
        shutil.rmtree(root, ignore_errors=True)
        with zipfile.ZipFile(download(work, requirement)) as wheel:
            wheel.extractall(root)
        done.touch()
    return root


def _pip(python: Path, command: str, *arguments: str) -> None:
    result = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", command, "--quiet", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
    )
    if result.returncode != 0:
        raise SystemExit(f"pip {command} {' '.join(arguments)} failed:\n{result.stderr[-2000:]}")


def django(work: Path) -> Path:
    """The unpacked wheel as a git repository with one commit, so that every tool sees the root of a repository.

    Else a tool that looks for a repository above the folder would find the one that this script lies in, and its ignore file.
    """
    root = work / "django"
    if (root / ".git" / "refs" / "heads" / "main").is_file():
        return root
    shutil.rmtree(root, ignore_errors=True)
    with zipfile.ZipFile(download(work, DJANGO)) as wheel:
        wheel.extractall(root)
    commit(root, DJANGO)
    return root


def commit(root: Path, message: str) -> None:
    """Make a tree a git repository with one commit of everything in it."""
    # A fixed author and date: the commit is the same everywhere.
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()}
    for command in (["init", "-q", "-b", "main"], ["add", "-A", "-f"], ["commit", "-q", "--no-gpg-sign", "-m", message]):
        subprocess.run(["git", *command], cwd=root, check=True, env=environment(identity), capture_output=True)


_IDENTITY = {"NAME": "benchmark", "EMAIL": "benchmark@localhost", "DATE": "2025-01-01T00:00:00 +0000"}


def tree_facts(root: Path) -> tuple[int, int, int]:
    """Files, Python files, and bytes of the Python files; reading them all also warms the page cache for everybody."""
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts]
    sizes = {path: len(path.read_bytes()) for path in files}
    return len(files), sum(path.suffix == ".py" for path in files), sum(n for path, n in sizes.items() if path.suffix == ".py")
