"""Which version of a package this process runs.

Asked for every key of every plan; reading a package's metadata costs half a millisecond each time, and a process never runs
another version than the one that it began with.

Belongs here: that one answer. Not here: which packages a result depends on (its stage).
"""

from __future__ import annotations

import functools
import importlib.metadata


@functools.cache
def version(package: str) -> str:
    """The version of an installed package. Raises `importlib.metadata.PackageNotFoundError`."""
    return importlib.metadata.version(package)


def version_or_none(package: str) -> str | None:
    """The version of a package, or None where it is not installed."""
    try:
        return version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
