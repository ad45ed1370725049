"""Files that would take an indexer longer than all others together.

`ty-scip` takes a time that grows with the square of the functions of a file, and of the times that a scope binds a name which
it also uses: 2000 lines `x = x` take it ten seconds, and one file of many more takes a project all the time that it has.

Belongs here: telling such files from their text, before anything is parsed. Not here: other reasons to leave one out
(`indexers`).
"""

from __future__ import annotations

import re
from collections import Counter

MAX_FUNCTIONS = 5000
"""Functions of one file."""
MAX_BINDINGS = 500
"""Times that one function, or the module outside of functions, binds one name."""

_STATEMENT = re.compile(
    rb"(?:^|;)[ \t]*(?:(?:async[ \t]+)?(?:def|class)\b"
    rb"|(?:(?:if|elif|else|while|try|except|finally|with)\b[^\n]*?:[ \t]*)?"
    rb"(?:for[ \t]+(\w+)|from[ \t]+[\w.]+[ \t]+import[ \t]+(\w+)|import[ \t]+(\w+)"
    # What ends with a comma is an argument on a line of its own.
    rb"|(\w+)[ \t]*(?:[-+*/%&|^@]|//|\*\*|<<|>>)?=(?!=)(?![^\n]*,[ \t\r]*$)))",
    re.MULTILINE,
)


def costly(content: bytes) -> str:
    """Why a Python file costs too much, or nothing. Strings and comments may hold what looks like code; few are so long."""
    # An upper bound, and a fast one.
    if content.count(b"def ") > MAX_FUNCTIONS:
        return f"it has more than {MAX_FUNCTIONS} functions"
    if content.count(b"=") + content.count(b"import ") + content.count(b"for ") > MAX_BINDINGS:
        counted: Counter[bytes] = Counter()
        for match in _STATEMENT.finditer(content):
            name = match[match.lastindex] if match.lastindex else None
            if name is None:
                counted.clear()
                continue
            counted[name] += 1
            if counted[name] > MAX_BINDINGS:
                return f"it binds one name more than {MAX_BINDINGS} times in one place"
    return ""
