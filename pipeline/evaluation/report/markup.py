"""HTML and SVG put together so that nothing of a repository is ever read as markup.

Whatever is not `Html` already is escaped when it becomes a child or an attribute: forgetting that is not possible. Characters
that nobody sees, or that turn the text around them, are shown by their numbers.

Belongs here: elements and escaping. Not here: what the page says (`sections`), how it looks (`style`).
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

_ALONE = frozenset({"meta", "br", "hr", "col", "line", "circle", "rect", "path", "polyline", "polygon"})
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LONGEST = 96
_LONGEST_TITLE = 400


class Html(str):
    """Text that is markup, and is not escaped again."""

    __slots__ = ()


Child = str | int | None


def text(value: object) -> Html:
    """Any text as markup that shows it."""
    return value if isinstance(value, Html) else Html(html.escape(visible(str(value)), quote=True))


def visible(words: str) -> str:
    """The text with every control, format and lone surrogate character as `\\u{…}`; line breaks and tabs stay."""
    if words.isprintable():
        return words
    return "".join(
        f"\\u{{{ord(one):x}}}" if unicodedata.category(one) in _UNSEEN and one not in "\n\t" else one for one in words
    )


def join(children: Iterable[Child]) -> Html:
    """Children after each other; None is nothing."""
    return Html("".join(text(child) for child in children if child is not None))


def element(tag: str, *children: Child, **attributes: str | float | None) -> Html:
    """An element. In names of attributes `_` stands for `-`, a `_` at the end for nothing; those that are None are left out."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _ALONE and not children:
        return Html(f"<{tag}{given}/>")
    return Html(f"<{tag}{given}>{join(children)}</{tag}>")


def _value(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def cut(words: str, most: int = _LONGEST) -> str:
    """On one line, and its middle left out where it is long: names tell most at their ends."""
    words = " ".join(words.split())
    return words if len(words) <= most else f"{words[: most * 2 // 5]} … {words[-most * 3 // 5 :]}"


def beginning(words: str, most: int) -> str:
    """On one line, and its end left out where it is long: sentences tell most at their beginning."""
    words = " ".join(words.split())
    return words if len(words) <= most else f"{words[:most].rsplit(' ', 1)[0]} …"


def name(words: str, most: int = _LONGEST) -> Html:
    """A name out of a repository: a path, a symbol, a query."""
    short = cut(words, most)
    return element("code", short, title=None if short == words else cut(words, _LONGEST_TITLE))
