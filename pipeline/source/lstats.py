"""What many files look like: in this process, or in one of its own that is told names and answers with numbers.

As a program it is run without site-packages, so it needs the standard library alone, and starts in a hundredth of a second.

Belongs here: looking. Not here: sharing the work (`stamps`), what stamps mean (`entries`).
"""

import os
import sys
from array import array
from collections.abc import Iterable

SIGNED = (1 << 63) - 1
"""What keeps an inode within an int64."""


def looks(names: Iterable[str] | Iterable[bytes]) -> "array[int]":
    """Inode, size, and times of modification and of change in ns of each file, of a link itself; zeros where there is none."""
    found = array("q")
    extend, lstat = found.extend, os.lstat
    for name in names:
        try:
            facts = lstat(name)
        except (OSError, ValueError):
            extend((0, 0, 0, 0))
        else:
            extend((facts.st_ino & SIGNED, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(looks(b"./" + name for name in sys.stdin.buffer.read().split(b"\0")))
