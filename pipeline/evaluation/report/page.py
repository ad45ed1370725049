"""The report of a version: one HTML file that needs nothing else, and asks for nothing else.

Belongs here: the order of the sections, and the frame around them. Not here: the sections, or where a report is kept.
"""

from __future__ import annotations

from pipeline.evaluation.report import contents, made, quality, questions
from pipeline.evaluation.report.markup import Html, element, join
from pipeline.evaluation.report.reading import Shown, read
from pipeline.evaluation.report.style import DRAWING, PAGE
from pipeline.evaluation.report.subject import Evaluated
from pipeline.evaluation.report.verdict import head

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for the page: nothing, whatever a repository would like."""


def render(subject: Evaluated) -> str:
    """The page as HTML, the same for the same artefacts, history and times.

    Raises OSError, `msgspec.MsgspecError` and `pyarrow.ArrowException` for artefacts that cannot be read.
    """
    return page(read(subject))


def page(shown: Shown) -> str:
    """The page of what was read."""
    sections = [
        contents.indexed(shown),
        quality.by_group(shown),
        questions.moved(shown),
        quality.over_versions(shown),
        quality.over_cost(shown),
        quality.channels(shown),
        contents.coverage(shown),
        questions.worst(shown),
        questions.speed(shown),
        made.built(shown),
        made.meanings(shown),
    ]
    title = f"{shown.subject.repository}: index report"
    return "<!doctype html>\n" + element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", title),
            element("style", Html(DRAWING + PAGE)),
        ),
        element("body", element("main", element("header", head(shown)), join(sections))),
        lang="en",
    ) + "\n"  # fmt: skip
