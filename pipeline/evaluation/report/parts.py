"""Building blocks of the page: tables, named values, sections.

Belongs here: shapes without content. Not here: elements (`markup`), what stands in them (`sections`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.evaluation.report.markup import Child, Html, element, join


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `n` for numbers, `roomy` where it gives way on small screens, `plot`, `heat`; several with a space between."""

    title: str
    kind: str = ""


def section(title: str, *children: Child) -> Html:
    """A section with its heading; nothing where it has no content."""
    filled = [child for child in children if child]
    return element("section", element("h2", title), *filled) if filled else Html()


def table(caption: str, columns: Sequence[Column], groups: Iterable[tuple[str, Sequence[Sequence[Child]]]]) -> Html:
    """Rows in groups, each with a title or an empty one; nothing where there are no rows. A first cell names its row."""
    head = element("tr", *(element("th", column.title, scope="col", class_=column.kind or None) for column in columns))
    bodies = []
    for title, rows in groups:
        if not rows:
            continue
        lines = [element("tr", element("th", title, scope="rowgroup", colspan=len(columns), class_="group"))] if title else []
        lines += [
            element(
                "tr", *(_cell(column, cell, first=at == 0) for at, (column, cell) in enumerate(zip(columns, row, strict=True)))
            )
            for row in rows
        ]
        bodies.append(element("tbody", *lines))
    if not bodies:
        return Html()
    whole = element("table", element("caption", caption), element("thead", head), *bodies)
    return element("div", whole, class_="wide", tabindex=0, role="region", aria_label=caption)


def _cell(column: Column, cell: Child, *, first: bool) -> Html:
    # A cell that is made already has an appearance of its own.
    if isinstance(cell, Html) and cell.startswith("<td"):
        return cell
    return element("th" if first else "td", cell, scope="row" if first else None, class_=column.kind or None)


def named(values: Iterable[tuple[Child, Child]]) -> Html:
    """Names and what they stand for; empty values are left out."""
    filled = [(name, value) for name, value in values if value not in (None, "")]
    return (
        element("dl", *(part for name, value in filled for part in (element("dt", name), element("dd", value))))
        if filled
        else Html()
    )


def figure(caption: str, picture: Html) -> Html:
    """A picture with the words under which it is read."""
    return element("figure", element("figcaption", caption), picture, class_="wide")


def more(count: int, what: str) -> Html:
    """`and 4,940 more folders`; nothing where there are none."""
    return element("p", f"… and {count:,} more {what}", class_="soft") if count > 0 else Html()


def folded(title: str, *children: Child) -> Html:
    """Something to be opened."""
    return element("details", element("summary", title), join(children))
