"""What kind of thing a query is, by its form alone.

Belongs here: pure functions of the text of a query. Not here: looking anything up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pipeline.embed import words
from pipeline.source.languages import language_of

MAX_IDENTIFIER = 512
"""Characters; what is longer is data."""
MOST_READ = 4096
"""Characters of a query that are looked at: what is longer is cut after a word. No channel tells more from more words, and some
would take seconds for them."""

# A name as languages write them: Python, JavaScript (`$`), Ruby and Elixir (`valid?`, `save!`), Rust's macros.
_NAME = r"[^\W\d][\w$]*[!?]?|\$[\w$]+"
_IDENTIFIER = re.compile(rf"[@#&.]?(?P<path>(?:{_NAME})(?:(?:\.|::|#|->|\\)(?:{_NAME}))*)(?:\(\))?")
_TOKEN = re.compile(r"[\w$]+(?:(?:\.|::|#|->)[\w$]+)*(?:\(\))?")
_JOINED = re.compile(r"[^\W_]_+[^\W_]|[a-z][A-Z]|\.|::|#|->|\(\)$")
"""What a name has and a word of a language has not."""
_PATH = re.compile(r"(?=[^/]*/)(?=\W*\w)[\w.@$+\-\[\]]*(?:/[\w.@$+\-\[\]]+)*/?")
_LINE = re.compile(r"(:\d+)+$|#L\d+(-L?\d+)?$")
"""A place in a file, as compilers and links write it."""
_QUOTES = "`'\"“”‘’()[]<>{},;:!?."
_QUESTIONS = frozenset("how what where which why when who".split())
_SENTENCE = 8
"""Words from which on a phrase is a sentence."""
_MAX_EMBEDDED = 4
_SEPARATOR = re.compile(r"\.|::|#|->|\\")


class Kind(StrEnum):
    """The forms of queries. Each but a name and a path may be mixed with names."""

    NAME = "name"
    """An identifier alone."""
    PATH = "path"
    """A path, or a file name such as `query.py`, which has the form of a name, too."""
    QUESTION = "question"
    """It asks how, what or where: about files rather than lines."""
    PHRASE = "phrase"
    """A few words: a topic."""
    SENTENCE = "sentence"
    """Many words, or a full stop: what one definition does."""


_ASKED: dict[str, frozenset[str]] = {
    role: frozenset(asking.split())
    for role, asking in {
        "test": "test tests testing tested unittest unittests pytest fixture fixtures mock mocks spec specs",
        "docs": "doc docs documentation readme changelog guide tutorial markdown",
        "example": "example examples sample samples demo demos tutorial tutorials benchmark benchmarks",
        "superseded": "deprecated legacy obsolete old v0 v1 v2 v3 v4 v5",
        "vendored": "vendor vendored",
        "generated": "generated protobuf",
        "private": "private internal internals experimental",
        "stub": "stub stubs pyi declaration declarations",
    }.items()
}
"""Words that ask for files of a role (`index.file_roles.ROLES`)."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query and what its form says."""

    text: str
    """What is read of the query: all of it, or its first words."""
    kind: Kind
    name: str | None
    """The name that the query is."""
    embedded: tuple[str, ...]
    """Names inside of a question or phrase, as `identifier_of` writes them; a sentence uses names rather than asks for them."""
    paths: tuple[str, ...]
    """The path that the query is, or those inside of it, without line numbers."""
    words: tuple[str, ...]
    """The distinct parts of its words in lower case, in order."""
    asks_for: frozenset[str]
    """Roles of files that the query itself names."""
    unread: int = 0
    """Characters of a query that is too long to be read whole."""

    @property
    def is_plain_word(self) -> bool:
        """Whether it is a name that could as well be a word of a language: `session`, and not `Session` or `open_session`."""
        return self.name is not None and self.name.isalpha() and self.name.islower()

    @property
    def is_path(self) -> bool:
        """Whether it is a path alone."""
        return self.kind is Kind.PATH


def parse_query(query: str) -> Parsed:
    """What kind of query this is. A text of any length and any characters has an answer."""
    whole = query.strip()
    text = _first_words(whole)
    name = identifier_of(text)
    parts = tuple(dict.fromkeys(part for run in words.runs(text) for part in words.parts(run)))
    if _is_path(text):
        kind = Kind.PATH
    elif name is not None:
        kind = Kind.NAME
    elif parts and parts[0] in _QUESTIONS:
        kind = Kind.QUESTION
    elif len(text.split(maxsplit=_SENTENCE)) >= _SENTENCE or text.endswith("."):
        kind = Kind.SENTENCE
    else:
        kind = Kind.PHRASE
    embedded = _embedded(text) if kind in (Kind.QUESTION, Kind.PHRASE) else ()
    asked = frozenset(role for role, asking in _ASKED.items() if not asking.isdisjoint(parts))
    return Parsed(text, kind, name, embedded, _paths(text, kind), parts, asked, len(whole) - len(text))


def _first_words(text: str) -> str:
    """As many whole words as are read; of a single one that is longer, its start."""
    if len(text) <= MOST_READ:
        return text
    head = text[:MOST_READ]
    cut_inside_a_word = not (head[-1].isspace() or text[MOST_READ].isspace())
    return (head.rsplit(maxsplit=1)[0] if cut_inside_a_word else head).rstrip()


def _paths(text: str, kind: Kind) -> tuple[str, ...]:
    if kind is Kind.PATH:
        return (_LINE.sub("", text),)
    if kind is Kind.NAME:
        return ()
    tokens = (_LINE.sub("", token.strip(_QUOTES)) for token in text.split())
    return tuple(dict.fromkeys(token for token in tokens if _is_path(token)))[:_MAX_EMBEDDED]


def _is_path(text: str) -> bool:
    if len(text) > MAX_IDENTIFIER or any(map(str.isspace, text)):
        return False
    text = _LINE.sub("", text)
    return bool(_PATH.fullmatch(text)) or ("." in text.strip(".") and language_of(text).name != "text")


def _embedded(text: str) -> tuple[str, ...]:
    found = (identifier_of(token) for token in _TOKEN.findall(text) if _JOINED.search(token))
    return tuple(dict.fromkeys(name for name in found if name))[:_MAX_EMBEDDED]


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
