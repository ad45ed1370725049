"""The list of channels, and asking them all.

Belongs here: which channels there are, and what a channel that is off or broken means for a query. Not here: a channel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import CodeIntelError, QueryError
from pipeline.search.channels import dense, lexical, path, splade, symbol
from pipeline.search.channels.interface import Asked, Channel, ChannelOffError, Found
from pipeline.search.opened import Opened

CHANNELS = (
    Channel("lexical", lexical.ask),
    # Cosine similarities of a static table lie close together: only the top of them says something.
    Channel("dense", dense.ask, power=2.0),
    Channel("symbol", symbol.ask),
    Channel("path", path.ask),
    Channel("splade", splade.ask),
)
_REST = 30.0
"""Seconds for which a channel that broke is left alone: a server that is gone must not cost every query its time-outs."""
_log = logging.getLogger(__name__)


class State(StrEnum):
    """How a channel fared with a query."""

    ANSWERED = "answered"
    EMPTY = "empty"
    """It was asked and found nothing."""
    SILENT = "silent"
    """A query of this form says nothing to it."""
    OFF = "off"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Consulted:
    """What became of a channel: what it found where it answered, why it did not where it is off or broken."""

    channel: Channel
    state: State
    found: Found | None = None
    reason: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """As `search --json` prints it."""
        said: dict[str, object] = {"state": self.state.value}
        said["found"] = 0 if self.found is None else len(self.found.ranking.ids)
        return {**said, "reason": self.reason} if self.reason else said


def consult(opened: Opened, asked: Asked) -> dict[str, Consulted]:
    """Ask every channel; whatever happens to one, the others answer. Raises `QueryError` alone: that one is the caller's."""
    return {channel.name: _consult(channel, opened, asked) for channel in CHANNELS}


def _consult(channel: Channel, opened: Opened, asked: Asked) -> Consulted:
    if not channel.weight(opened.settings) > 0:
        return Consulted(channel, State.OFF, reason=f"`{channel.name}_weight` is 0")
    if (resting := opened.resting(channel.name)) is not None:
        return Consulted(channel, State.BROKEN, reason=resting)
    started = time.perf_counter()
    try:
        found = channel.ask(opened, asked)
    except QueryError:
        raise
    except ChannelOffError as off:
        return Consulted(channel, State.OFF, reason=str(off))
    except Exception as error:
        # Anything: a model's runtime raises what it likes, and one channel must not cost the answer of the others.
        reason = str(error) if isinstance(error, CodeIntelError) else f"{type(error).__name__}: {error}"
        opened.rest(channel.name, reason, _REST)
        _log.warning("the channel %s is broken: %s", channel.name, reason)
        return Consulted(channel, State.BROKEN, reason=reason, seconds=time.perf_counter() - started)
    state = State.SILENT if found is None else State.ANSWERED if len(found.ranking.ids) else State.EMPTY
    return Consulted(channel, state, found, seconds=time.perf_counter() - started)


def broken(consulted: Mapping[str, Consulted]) -> dict[str, str]:
    """Name and reason of each channel that should have answered and could not."""
    return {name: one.reason for name, one in consulted.items() if one.state is State.BROKEN}
