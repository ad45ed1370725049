"""The runbook: its blocks that are marked to be run are run, in order, in one shell, over a new store."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs" / "runbook.md"
TOOLS = ("bash", "curl", "git", "jq", "openssl", "tar")

CART = '''"""The {name}: prices and carts."""


def total_of_cart(lines):
    """Sum what lies in a cart, with discounts."""
    return sum(price * count for price, count in lines)


class Cart:
    """What a customer wants to buy."""

    def add(self, price, count=1):
        """Put something into the cart."""
        self.lines.append((price, count))
'''


def blocks() -> Iterator[tuple[int, str]]:
    """Line and text of each block that is to be run."""
    text = RUNBOOK.read_text(encoding="utf-8")
    for match in re.finditer(r"^```sh run\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        # `set -e` lets what follows a `!` pass either way.
        strict = re.sub(r"^! (.*)$", r"if \1\nthen echo 'it was to fail' >&2; exit 1; fi", match[1], flags=re.MULTILINE)
        yield text[: match.start()].count("\n") + 1, strict


def repository(folder: Path, name: str) -> None:
    """A small git repository."""
    (folder / name).mkdir(parents=True)
    (folder / name / "cart.py").write_text(CART.format(name=name))
    git = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)


@pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}")
def test_every_block_does_what_it_says(tmp_path: Path) -> None:
    for name in ("shop", "tools"):
        repository(tmp_path / "src" / name, name)
    script = [
        "set -euo pipefail",
        "trap 'for one in $(jobs -p); do kill \"$one\" 2> /dev/null || true; done' EXIT",
        *(f"echo '== line {line}'; echo '== line {line}' >&2\n{text}" for line, text in blocks()),
        "echo '== end'",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path), "CODEINTEL_DATA": str(tmp_path / "data"),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n---\n{done.stderr[-3000:]}"
    assert done.stdout.endswith("== end\n")


def test_most_of_its_chapters_have_a_block() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    chapters = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    without = {chapter.splitlines()[0] for chapter in chapters if "```sh run" not in chapter}
    # They change the machine itself.
    assert without == {"Upgrade", "GPU"}


def test_its_links_lead_somewhere() -> None:
    text = RUNBOOK.read_text(encoding="utf-8")
    anchors = {title.lower().replace(",", "").replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / "docs" / file).exists(), target
        assert not anchor or anchor in anchors, target
