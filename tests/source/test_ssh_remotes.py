"""Remotes over ssh, from an sshd of our own on loopback; skipped where there is none to run.

Belongs here: host keys, keys and agents. Not here: mirrors (`test_remotes`), other schemes.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pygit2
import pytest

from pipeline.errors import SourceError
from pipeline.source.remotes import fetch, standing

_SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_USER = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Host:
    """An sshd that serves a repository to one key."""

    url: str
    key: Path
    line: str
    """What known_hosts says of it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """With the key, and without an agent."""
        return {"CODEINTEL_GIT_SSH_KEY": str(self.key), "PATH": os.environ["PATH"]}


def _key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path


def _public(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if _SSHD is None or shutil.which("ssh-keygen") is None or shutil.which("git") is None:
        pytest.skip("no sshd here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    served = _repository(tmp_path / "served")
    identity, own = _key(tmp_path / "identity"), _key(tmp_path / "host")
    (tmp_path / "authorized").write_text(_public(identity))
    configuration = tmp_path / "sshd_config"
    configuration.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {own}\nAuthorizedKeysFile {tmp_path}/authorized\nStrictModes no\n"
        "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
        "PidFile none\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen([_SSHD, "-D", "-e", "-f", str(configuration)], stderr=subprocess.PIPE) as process:
        try:
            _await(port, process)
            yield Host(f"ssh://{_USER}@127.0.0.1:{port}{served}", identity, f"[127.0.0.1]:{port} {_public(own)}\n")
        finally:
            process.terminate()


def _repository(path: Path) -> Path:
    repository = pygit2.init_repository(str(path), initial_head="main")
    (path / "a.py").write_text("def a(): pass\n")
    repository.index.add_all()
    who = pygit2.Signature("N", "n@example.org")
    repository.create_commit("HEAD", who, who, "one", repository.index.write_tree(), [])
    return path


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.skip("sshd does not start here")


@pytest.fixture
def known_hosts(tmp_path: Path) -> Iterator[Path]:
    """A known_hosts of our own, empty: libgit2 looks for it in what it takes for home."""
    home = pygit2.settings.homedir
    (tmp_path / "home/.ssh").mkdir(parents=True)
    pygit2.settings.homedir = str(tmp_path / "home")
    path = tmp_path / "home/.ssh/known_hosts"
    path.write_text("")
    yield path
    pygit2.settings.homedir = home


def test_a_host_that_is_in_known_hosts_is_fetched_from_by_key(host: Host, known_hosts: Path, tmp_path: Path) -> None:
    known_hosts.write_text(host.line)
    mirror = tmp_path / "mirror.git"
    fetch(host.url, mirror, host.environment)
    found = standing(host.url, None, mirror, host.environment)
    assert found.branch == "main" and pygit2.Repository(str(mirror))[found.commit] is not None


@pytest.mark.parametrize("of_another", [False, True])
def test_an_unknown_or_changed_host_key_is_refused_before_anything_is_said(
    host: Host, known_hosts: Path, tmp_path: Path, of_another: bool
) -> None:
    if of_another:
        known_hosts.write_text(f"{host.line.split()[0]} {_public(_key(tmp_path / 'another'))}\n")
    with pytest.raises(SourceError, match=r"host key that is not in known_hosts\."):
        fetch(host.url, tmp_path / "mirror.git", host.environment)


def test_a_key_that_opens_nothing_is_told_as_missing_credentials(host: Host, known_hosts: Path, tmp_path: Path) -> None:
    known_hosts.write_text(host.line)
    wrong = {**host.environment, "CODEINTEL_GIT_SSH_KEY": str(_key(tmp_path / "wrong"))}
    with pytest.raises(SourceError, match="none that were found are good"):
        fetch(host.url, tmp_path / "mirror.git", wrong)


def test_a_key_with_a_passphrase_needs_it(host: Host, known_hosts: Path, tmp_path: Path) -> None:
    known_hosts.write_text(host.line)
    locked = _key(tmp_path / "locked", "open sesame")
    with (tmp_path / "authorized").open("a") as file:
        file.write(f"\n{_public(locked)}\n")
    given = {**host.environment, "CODEINTEL_GIT_SSH_KEY": str(locked)}
    with pytest.raises(SourceError, match="none that were found are good") as refused:
        fetch(host.url, tmp_path / "mirror.git", {**given, "CODEINTEL_GIT_SSH_PASSPHRASE": "open barley"})
    assert "barley" not in str(refused.value)
    fetch(host.url, tmp_path / "mirror.git", {**given, "CODEINTEL_GIT_SSH_PASSPHRASE": "open sesame"})


def test_what_libgit2_says_of_a_host_is_what_counts() -> None:
    """Also where no sshd can be run: left to pygit2's default, every host key of ssh would do."""
    from pipeline.source.remotes import _Asked

    asked = _Asked("ssh://git@git.example.org/x.git", {})
    assert asked.certificate_check(None, True, b"git.example.org") is True
    assert asked.certificate_check(None, False, b"git.example.org") is False
