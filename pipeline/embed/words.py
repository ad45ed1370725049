"""Code-aware words: how text becomes the words that both the embedder and the lexical index count.

A *run* is a maximal stretch of letters, digits and underscores, as written: `HTTPServer2`. Its *parts* are what a reader
sees in it, in lower case: `http`, `server`, `2`. Runs repeat a lot, so whoever reads many texts finds the parts once for each
distinct run.

Belongs here: cutting text into runs and runs into parts. Not here: stemming and fields (`index.lexical`), tokens of a model
(`static`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

VERSION = "1"
"""Rises whenever any text is cut differently; part of the keys of everything made with it."""

MAX_RUN = 256
"""A longer run is data (base64, a hash table), not a name, and has no parts."""

_RUN = re.compile(r"\w+")
_BREAKS = "".join(character if character.isalnum() or character == "_" else " " for character in map(chr, range(128)))
# In this order: acronyms in the plural (`URLs`), acronyms before a word (`HTTP|Server`), words, acronyms, numbers.
_ASCII_PART = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_UPPER, _LOWER, _DIGIT, _CASELESS, _MARK = range(5)


def runs(text: str) -> list[str]:
    """All runs of a text, in order, as written. Works on any string, lone surrogates included."""
    # The same, in half the time: most code is ASCII, and expressions look at one character after the other.
    return text.translate(_BREAKS).split() if text.isascii() else _RUN.findall(text)


def parts(run: str) -> tuple[str, ...]:
    """The lower-case parts of one run, in order.

    camelCase, PascalCase, snake_case, acronyms and numbers are told apart (`parseHTTPResponse_v2` gives parse, http,
    response, v, 2). Letters of every script are kept; those without case stay together. Empty for underscores alone and
    for runs over `MAX_RUN`.
    """
    if len(run) > MAX_RUN:
        return ()
    if run.isascii():
        if run.islower() and run.isalpha():
            return (run,)
        return tuple(part.lower() for part in _ASCII_PART.findall(run))
    return tuple(part.lower() for piece in run.split("_") for part in _cased_parts(piece))


def terms(run: str) -> tuple[str, ...]:
    """What a run is looked up by: its parts and, where there are several, first the whole without underscores.

    So `QuerySet`, `query_set` and `queryset` meet in `queryset`.
    """
    found = parts(run)
    return ("".join(found), *found) if len(found) > 1 else found


def _cased_parts(piece: str) -> Iterator[str]:
    """Parts of a piece in any script: the rules of `_ASCII_PART` with Unicode's letter case."""
    start = 0
    kinds = [_kind(character) for character in piece]
    for at in range(1, len(piece)):
        before, here = kinds[at - 1], kinds[at]
        if here == _MARK:
            kinds[at] = before
            continue
        after = kinds[at + 1] if at + 1 < len(piece) else here
        new_word = here == _UPPER and (before != _UPPER or after == _LOWER)
        if new_word or (here != before and not (before == _UPPER and here == _LOWER)):
            yield piece[start:at]
            start = at
    if piece:
        yield piece[start:]


def _kind(character: str) -> int:
    if character.isupper() or character.istitle():
        return _UPPER
    if character.islower():
        return _LOWER
    if character.isalpha():
        return _CASELESS
    return _DIGIT if character.isnumeric() else _MARK
