"""The page: the files of `page/`, read once, by name.

Belongs here: which files are given. Not here: what is in them (`page/`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("page")
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class Page:
    """A file. `tag` changes with its bytes."""

    content: bytes
    kind: str
    tag: str


def read_pages(folder: Path = FOLDER) -> dict[str, Page]:
    """The files that browsers may have, by name: nothing that a request says is ever a path."""
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _KINDS and path.is_file():
            content = path.read_bytes()
            found[path.name] = Page(content, _KINDS[path.suffix], f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"')
    return found
