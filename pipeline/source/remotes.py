"""Git remotes: where they stand, and fetching them into a bare mirror, by libgit2.

Credentials come from the environment, an ssh agent, or git's credential helpers, at the moment when the remote asks for them.
They are never part of a URL, and are sent to the registered host alone.

Belongs here: everything that talks to another machine about git. Not here: which remotes there are (`registration`), reading
what was fetched (`repository`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pygit2
from pygit2.enums import CredentialType, FetchPrune

from pipeline.errors import ConfigError, SourceError
from pipeline.source import repository

TOKEN_PREFIX = "CODEINTEL_GIT_TOKEN_"  # noqa: S105 - the name of a variable
USER_PREFIX = "CODEINTEL_GIT_USER_"
SSH_KEY = "CODEINTEL_GIT_SSH_KEY"
SSH_PASSPHRASE = "CODEINTEL_GIT_SSH_PASSPHRASE"  # noqa: S105 - the name of a variable

_SCHEMES = frozenset({"https", "http", "ssh", "git", "file"})
_SHORT = re.compile(r"(?:(?P<user>[A-Za-z0-9._-]+)@)?(?P<host>[A-Za-z0-9._-]+):(?!//)(?P<path>.+)")
"""`user@host:path`, as ssh has it."""
_SECRET = re.compile(r"://[^/@\s]*@")
_REFSPECS = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
_CONNECT_MILLISECONDS, _SILENCE_MILLISECONDS = 10_000, 30_000
_HELPER_SECONDS = 10.0
_FULL_HASH = re.compile(r"[0-9a-f]{40}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Standing:
    """A commit in full hex, and the branch that it was found by, if it was one."""

    commit: str
    branch: str | None


def is_url(text: str) -> bool:
    """Whether a text names a git remote and no folder of this machine."""
    return "://" in text or (_SHORT.fullmatch(text) is not None and not Path(text).exists())


def checked_url(text: str) -> str:
    """The URL itself, where it may be stored and shown; raises `ConfigError` where it may not, without its secrets."""
    if not text.isprintable() or any(character.isspace() for character in text) or text.startswith("-"):
        raise ConfigError("The URL has characters that no URL has.", hint="Give it as `git clone` takes it.")
    if "://" not in text:
        if _SHORT.fullmatch(text) is None:
            raise ConfigError(f"`{text}` is not the URL of a git repository.", hint="Give it as `git clone` takes it.")
        return text
    try:
        parts = urlsplit(text)
        host, password, user, _ = parts.hostname, parts.password, parts.username, parts.port
    except ValueError:
        raise ConfigError("The URL cannot be read.", hint="Give it as `git clone` takes it.") from None
    if password is not None or (user is not None and parts.scheme != "ssh") or parts.query or parts.fragment:
        raise ConfigError(
            "The URL holds a user, a password or a token, which would be stored and shown.",
            hint=f"Leave that out, and set {TOKEN_PREFIX}{_variable(host or 'HOST')} or use a git credential helper.",
        )
    if parts.scheme not in _SCHEMES:
        raise ConfigError(f"`{parts.scheme}` is no way to fetch.", hint=f"Use one of {', '.join(sorted(_SCHEMES))}.")
    if not parts.path.strip("/") or (parts.scheme != "file" and not host):
        raise ConfigError(f"`{text}` names no repository.", hint="Give it as `git clone` takes it.")
    return text


def name_in(url: str) -> str:
    """What the last part of a URL calls the repository."""
    last = unquote(re.split(r"[/:]", url.rstrip("/"))[-1])
    return last.removesuffix(".git") or "repository"


def standing(url: str, rev: str | None, mirror: Path, environment: Mapping[str, str] = os.environ) -> Standing:
    """Where a branch or tag of a remote (by default its HEAD) stands now. Fetches nothing.

    A full hash stands where it is; any other revision where it stood in the mirror when that was last fetched. Raises
    `SourceError`.
    """
    if rev is not None and _FULL_HASH.fullmatch(rev):
        return Standing(rev, None)
    heads = {head.name: head for head in _asked(_opened(mirror), url, environment)}
    if rev is None:
        if "HEAD" not in heads:
            raise SourceError(f"{url} has no commits.", hint="Push something first.")
        return Standing(str(heads["HEAD"].oid), _branch(heads))
    for name, branch in ((f"refs/heads/{rev}", rev), (f"refs/tags/{rev}^{{}}", None), (f"refs/tags/{rev}", None), (rev, None)):
        if name in heads:
            return Standing(str(heads[name].oid), branch)
    return local_standing(mirror, rev)


def local_standing(path: Path, rev: str | None) -> Standing:
    """Where a revision (by default HEAD) of a repository on this machine stands. Raises `SourceError`."""
    location = repository.locate(path.resolve())
    if location is None:
        raise SourceError(f"{path} is in no git repository.", hint="Leave out --rev.")
    git = location.repository
    commit = repository.head_commit(git) if rev is None else repository.resolve(git, rev)
    if commit is None:
        raise SourceError(f"{path} has no commits.", hint="Commit something first.")
    if rev is None:
        return Standing(str(commit.id), None if git.head_is_detached else git.head.shorthand)
    return Standing(str(commit.id), rev if git.lookup_branch(rev) is not None else None)


def fetch(url: str, mirror: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Bring branches, tags and HEAD of a mirror to where they are at the remote; the first time, make it.

    Nothing that the mirror had is lost but names: whoever reads a commit goes on. Raises `SourceError`; then the mirror is as
    it was, or has some of the new commits.
    """
    opened = _opened(mirror)
    heads = {head.name: head for head in _asked(opened, url, environment)}
    if not any(name.startswith("refs/heads/") for name in heads):
        raise SourceError(f"{url} has no commits.", hint="Push something first.")
    asker = _Asked(url, environment)
    try:
        remote = opened.remotes.create_anonymous(url)
        remote.fetch(_REFSPECS, callbacks=asker, prune=FetchPrune.PRUNE, proxy=True)
        branch = _branch(heads)
        if branch is not None:
            opened.set_head(f"refs/heads/{branch}")
        elif "HEAD" in heads:
            opened.set_head(pygit2.Oid(hex=str(heads["HEAD"].oid)))
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        raise _refused(url, error, asker) from None


def _branch(heads: Mapping[str, Any]) -> str | None:
    """The branch that HEAD of a remote is; where the server does not say so, the one that stands where HEAD does."""
    head = heads.get("HEAD")
    if head is None:
        return None
    if target := head.symref_target:
        return str(target).removeprefix("refs/heads/")
    same = [name for name, other in heads.items() if name.startswith("refs/heads/") and other.oid == head.oid]
    return same[0].removeprefix("refs/heads/") if len(same) == 1 else None


def _opened(mirror: Path) -> Any:
    """The mirror, made where it is not there."""
    try:
        if not (mirror / "HEAD").exists():
            mirror.parent.mkdir(parents=True, exist_ok=True)
            pygit2.init_repository(str(mirror), bare=True)
        return pygit2.Repository(str(mirror))
    except (pygit2.GitError, OSError, ValueError) as error:
        raise SourceError(
            f"The mirror {mirror} cannot be opened: {_sentence(error)}.", hint="Remove it; it is fetched anew."
        ) from None


def _asked(opened: Any, url: str, environment: Mapping[str, str]) -> list[Any]:
    pygit2.settings.server_connect_timeout = _CONNECT_MILLISECONDS
    pygit2.settings.server_timeout = _SILENCE_MILLISECONDS
    asker = _Asked(url, environment)
    try:
        remote = opened.remotes.create_anonymous(url)
        return list(remote.list_heads(callbacks=asker, proxy=True))
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        raise _refused(url, error, asker) from None


def _refused(url: str, error: BaseException, asker: _Asked) -> SourceError:
    """No chained cause: what libgit2 says may hold what it was given."""
    if asker.by_ssh and not asker.vouched:
        return SourceError(
            f"{asker.host} shows a host key that is not in known_hosts.",
            hint="Compare its fingerprint with what its owner says, and add it (`ssh-keyscan`).",
        )
    if asker.asked:
        variable = TOKEN_PREFIX + _variable(asker.host)
        way = f"{SSH_KEY}, or an ssh agent" if asker.by_ssh else f"{variable}, or configure a git credential helper"
        return SourceError(f"{url} asks for credentials, and none that were found are good.", hint=f"Set {way}.")
    return SourceError(f"{url} cannot be fetched: {_sentence(error)}.", hint="Check the URL, the network and your rights.")


def _sentence(error: BaseException) -> str:
    said = " ".join(str(error.args[0] if error.args else error).split()).rstrip(".")
    return _SECRET.sub("://…@", said) or type(error).__name__


def _variable(host: str) -> str:
    """The end of the variables that are about a host: `git.example.org` is GIT_EXAMPLE_ORG."""
    return re.sub(r"[^A-Z0-9]", "_", host.upper())


class _Asked(pygit2.RemoteCallbacks):
    """Answers a remote that asks who we are: each thing that could be said once, and to the registered host only."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        super().__init__()
        short = _SHORT.fullmatch(url) if "://" not in url else None
        parts = None if short else urlsplit(url)
        self.host = (short["host"] if short else parts.hostname if parts else "") or ""
        self.by_ssh = short is not None or (parts is not None and parts.scheme == "ssh")
        self.asked = False
        self.vouched = True
        """Whether the host showed a key or certificate that is known to be its own."""
        self._elsewhere = False
        self._safe = self.by_ssh or (parts is not None and (parts.scheme == "https" or self.host in _LOOPBACK))
        user = (short["user"] if short else parts.username if parts else None) or "git"
        self._user = user
        self._said = _by_ssh(user, environment) if self.by_ssh else _by_password(url, self.host, environment)

    def certificate_check(self, certificate: Any, valid: bool, host: Any) -> bool:
        """The judgement of libgit2, and whether we were sent to another host. It has to be repeated: `pygit2.Passthrough`, the
        default, takes every host key of ssh."""
        name = host.decode("utf-8", "replace") if isinstance(host, bytes) else str(host)
        self._elsewhere = self._elsewhere or name.lower() != self.host.lower()
        self.vouched = self.vouched and valid
        return valid

    def credentials(self, url: str, username_from_url: str | None, allowed_types: Any) -> Any:
        """The next thing to say; raises where there is nothing more."""
        self.asked = True
        if allowed_types & CredentialType.USERNAME and self.by_ssh:
            return pygit2.Username(self._user)
        said = next(self._said, None) if self._safe and not self._elsewhere else None
        if said is None:
            raise pygit2.GitError("no credentials")
        return said


def _by_ssh(user: str, environment: Mapping[str, str]) -> Iterator[Any]:
    if key := environment.get(SSH_KEY):
        yield pygit2.Keypair(user, None, key, environment.get(SSH_PASSPHRASE, ""))
    if environment.get("SSH_AUTH_SOCK"):
        yield pygit2.KeypairFromAgent(user)


def _by_password(url: str, host: str, environment: Mapping[str, str]) -> Iterator[Any]:
    if token := environment.get(TOKEN_PREFIX + _variable(host)):
        yield pygit2.UserPass(environment.get(USER_PREFIX + _variable(host), "git"), token)
    if found := _from_helpers(url, environment):
        yield pygit2.UserPass(*found)


def _from_helpers(url: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """What git's credential helpers know of a URL. Nobody is asked: where they know nothing, that is the answer."""
    git = shutil.which("git", path=environment.get("PATH"))
    if git is None:
        return None
    try:
        ran = subprocess.run(  # noqa: S603 - the system's git, which runs the helpers that its user configured
            [git, "credential", "fill"],
            input=f"url={url}\n\n",
            capture_output=True,
            text=True,
            timeout=_HELPER_SECONDS,
            cwd="/",  # No repository's own configuration counts.
            env={**environment, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": ""},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    said = dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line)
    return (said["username"], said["password"]) if {"username", "password"} <= said.keys() else None
