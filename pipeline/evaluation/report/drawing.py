"""Pictures as SVG, written by hand: text stays text, equal data give equal bytes, colours follow the page around them.

Belongs here: axes, marks and the frame of a picture. Not here: what is drawn (`charts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.evaluation.report.markup import Html, element, join
from pipeline.evaluation.report.style import DRAWING, LIGHT


@dataclass(frozen=True, slots=True)
class Axis:
    """From the values `first` to `last` on to the pixels `start` to `end`."""

    first: float
    last: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.last == self.first:
            return (self.start + self.end) / 2
        return self.start + (value - self.first) / (self.last - self.first) * (self.end - self.start)


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> Html:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def dot(x: float, y: float, radius: float = 3, kind: str = "dot", title: str = "") -> Html:
    """A point; `title` is what it says when it is pointed at."""
    return element("circle", element("title", title) if title else None, cx=x, cy=y, r=radius, class_=kind)


def words(x: float, y: float, said: str, anchor: str = "start", kind: str | None = None) -> Html:
    return element("text", said, x=x, y=y, text_anchor=anchor, class_=kind)


def path(points: Sequence[tuple[float, float]], kind: str = "track") -> Html:
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def area(points: Sequence[tuple[float, float]], kind: str = "band") -> Html:
    return element("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def picture(width: int, height: int, title: str, marks: Sequence[Html]) -> Html:
    """An SVG to stand in a page. `title` says what is to be seen to those who do not see it."""
    return element(
        "svg", element("title", title), join(marks), viewBox=f"0 0 {width} {height}", width=width, height=height, role="img"
    )


def alone(svg: Html) -> str:
    """The same to stand anywhere: with its own colours, on paper."""
    style = f"<style>svg{{{LIGHT.strip()}}}{DRAWING.strip()}</style>".replace("\n", "")
    head, rest = str(svg).split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}<rect width="100%" height="100%" fill="#fff"/>{rest}'


def ticks(first: float, last: float, most: int = 4) -> list[float]:
    """Round values between two, at most so many and an end more."""
    span = last - first
    if span <= 0:
        return [first]
    step = next(
        factor * 10.0**power for power in range(-6, 10) for factor in (1, 2, 5) if span / (factor * 10.0**power) <= most
    )
    number = -(-first // step)
    found = []
    while number * step <= last + step * 1e-9:
        found.append(round(number * step, 10))
        number += 1
    return found
