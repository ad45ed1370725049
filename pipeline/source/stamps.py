"""Stamps of many files at once, shared among processes where there are many.

A hundred thousand `lstat` take Python four tenths of a second, nearly all of which is making numbers of the answers: threads
cannot share that, processes can.

Belongs here: sharing the work. Not here: the work (`lstats`), which files are looked at (`look`, `folders`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.source import lstats
from pipeline.workers import worker_count

WORTH_A_PROCESS = 1 << 14
"""Files of one process. Starting another costs what looking at a few thousand does."""


def stamps_of(root: str, names: Sequence[str]) -> NDArray[np.int64]:
    """The stamps of files and folders by their paths below `root`, int64 [n, 4]; zeros where there is none."""
    shares = max(1, min(worker_count(), len(names) // WORTH_A_PROCESS))
    bounds = [len(names) * share // shares for share in range(shares + 1)]
    own, *parts = (names[first:end] for first, end in pairwise(bounds))
    with ExitStack() as stack:
        asked = [stack.enter_context(_asked(root, part)) for part in parts]
        found = [_looked(root, own)]
        for part, process in zip(parts, asked, strict=True):
            answer = None if process is None else _answer_of(process)
            found.append(_looked(root, part) if answer is None or len(answer) != len(part) else answer)
    return np.concatenate(found)


def _looked(root: str, names: Sequence[str]) -> NDArray[np.int64]:
    return np.frombuffer(lstats.looks(f"{root}/{name}" for name in names), np.int64).reshape(-1, 4)


@contextmanager
def _asked(root: str, names: Sequence[str]) -> Iterator[subprocess.Popen[bytes] | None]:
    """A process that looks at files below `root`; None where there can be none. It ends with the block, whatever it is at."""
    try:
        process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
            # Isolated: nothing that lies in the tree is imported. Without site-packages it starts three times faster.
            [sys.executable, "-I", "-S", lstats.__file__], cwd=root,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, ValueError):
        yield None
        return
    assert process.stdin is not None and process.stdout is not None  # pipes were asked for
    try:
        with suppress(OSError, ValueError), process.stdin as stream:
            stream.write("\0".join(names).encode("utf-8", "surrogateescape"))
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def _answer_of(process: subprocess.Popen[bytes]) -> NDArray[np.int64] | None:
    """What a process found; None where it did not end well."""
    assert process.stdout is not None  # a pipe was asked for
    said = process.stdout.read()
    return np.frombuffer(said, np.int64).reshape(-1, 4) if process.wait() == 0 and len(said) % 32 == 0 else None
