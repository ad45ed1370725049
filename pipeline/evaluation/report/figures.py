"""How figures are written: the same everywhere on the page.

Belongs here: from numbers to words. Not here: markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.evaluation.document import Interval, Share

NONE = "–"


def decimal(value: float) -> str:
    """`0.613`."""
    return f"{value:.3f}"


def interval(of: Interval) -> str:
    """`0.580–0.641`."""
    return f"{decimal(of.low)}–{decimal(of.high)}" if of.low >= 0 else f"{signed(of.low)} to {signed(of.high)}"


def signed(value: float) -> str:
    """`+0.012`, with a true minus."""
    return f"{value:+.3f}".replace("-", "−")


def percent(part: float, digits: int = 1) -> str:
    """`97.4 %`. What is not all is never rounded to all, and what is something never to nothing."""
    scale = 10**digits
    shown = round(100 * part * scale) / scale
    if part < 1:
        shown = min(shown, math.floor(100 * scale - 1) / scale)
    if part > 0:
        shown = max(shown, 1 / scale)
    return f"{shown:.{digits}f} %" if 0 < part < 1 else f"{shown:g} %"


def share(of: Share) -> str:
    """`97.4 %`; of nothing, a dash."""
    return percent(of.part / of.whole) if of.whole else NONE


def of_all(of: Share, what: str) -> str:
    """`1,923 of 2,410 files`."""
    return f"{of.part:,} of {of.whole:,} {what}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 query`, `400 queries`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(count: int) -> str:
    """`3.2 MB`."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return ""


def milliseconds(value: float) -> str:
    """`4.2 ms`, with about two digits that mean something."""
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def moment(seconds: float) -> str:
    """Seconds since the epoch as a date and time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def listed(counts: Mapping[str, int], most: int = 6) -> str:
    """`80 binary, 40 generated`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in ordered[:most])
    return f"{words} and {len(ordered) - most} more" if len(ordered) > most else words


def within(k: int) -> str:
    """`the first 10`."""
    return f"the first {k}" if k != 1 else "the first"
