"""What kind of thing a query is, by its form alone.

Belongs here: pure functions of the text of a query. Not here: looking anything up.
"""

from __future__ import annotations

import re

MAX_IDENTIFIER = 512
"""Characters; what is longer is data."""

# A name as languages write them: Python, JavaScript (`$`), Ruby and Elixir (`valid?`, `save!`), Rust's macros.
_NAME = r"[^\W\d][\w$]*[!?]?|\$[\w$]+"
_IDENTIFIER = re.compile(rf"[@#&.]?(?P<path>(?:{_NAME})(?:(?:\.|::|#|->|\\)(?:{_NAME}))*)(?:\(\))?")
_SEPARATOR = re.compile(r"\.|::|#|->|\\")


def identifier_of(query: str) -> str | None:
    """The name that a query is, its parts joined by dots; None for anything else.

    One identifier, a dotted or scoped name, or such a call: `QuerySet`, `QuerySet.filter()`, `std::vector`, `Foo#bar?`,
    `@property`. Case is kept. A file name such as `query.py` has the form of a name, too.
    """
    query = query.strip()
    if len(query) > MAX_IDENTIFIER:
        return None
    found = _IDENTIFIER.fullmatch(query)
    return ".".join(_SEPARATOR.split(found["path"])) if found else None
