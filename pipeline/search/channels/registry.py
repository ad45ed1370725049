"""The list of channels, and asking them all.

Belongs here: which channels there are, and what a channel that is off or broken means for a query. Not here: a channel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from pipeline import instruments
from pipeline.errors import CodeIntelError, QueryError
from pipeline.search.channels import dense, lexical, path, splade, symbol, xtr
from pipeline.search.channels.interface import Asked, Channel, ChannelOffError, Found
from pipeline.search.opened import Opened

CHANNELS = (
    Channel("lexical", lexical.ask),
    # Cosine similarities of a static table lie close together: only the top of them says something.
    Channel("dense", dense.ask, power=2.0),
    Channel("symbol", symbol.ask),
    Channel("path", path.ask),
    Channel("splade", splade.ask),
    # Mean cosines of tokens lie closer together still.
    Channel("xtr", xtr.ask, power=4.0),
)
RERANK = Channel("xtr_rerank", xtr.rescore)
"""No channel of its own: it is asked about the best candidates of the others (`late`)."""
T = TypeVar("T")
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


@dataclass(frozen=True, slots=True)
class Failed:
    """Why something did not answer: it is off or broken."""

    state: State
    reason: str


def consult(opened: Opened, asked: Asked) -> dict[str, Consulted]:
    """Ask every channel; whatever happens to one, the others answer. Raises `QueryError` alone: that one is the caller's."""
    return {channel.name: consult_one(channel, opened, asked) for channel in CHANNELS}


def consult_one(channel: Channel, opened: Opened, asked: Asked) -> Consulted:
    """Ask one channel, and say what became of it."""
    one = _asked(channel, opened, asked)
    instruments.count("codeintel_channel_answers_total", channel=channel.name, state=one.state.value)
    if one.state is not State.OFF:
        instruments.observe("codeintel_channel_seconds", one.seconds, channel=channel.name)
    return one


def _asked(channel: Channel, opened: Opened, asked: Asked) -> Consulted:
    if not channel.weight(opened.settings) > 0:
        return Consulted(channel, State.OFF, reason=f"`{channel.name}_weight` is 0")
    started = time.perf_counter()
    found = attempt(channel.name, opened, lambda: channel.ask(opened, asked))
    seconds = time.perf_counter() - started
    if isinstance(found, Failed):
        return Consulted(channel, found.state, reason=found.reason, seconds=seconds)
    state = State.SILENT if found is None else State.ANSWERED if len(found.ranking.ids) else State.EMPTY
    return Consulted(channel, state, found, seconds=seconds)


def attempt(name: str, opened: Opened, ask: Callable[[], T]) -> T | Failed:
    """What `ask` says; why it does not where it is off, broken, or resting because it broke. Raises `QueryError` alone."""
    if (resting := opened.resting(name)) is not None:
        return Failed(State.BROKEN, resting)
    try:
        return ask()
    except QueryError:
        raise
    except ChannelOffError as off:
        return Failed(State.OFF, str(off))
    except Exception as error:
        # Anything: a model's runtime raises what it likes, and one channel must not cost the answer of the others.
        reason = str(error) if isinstance(error, CodeIntelError) else f"{type(error).__name__}: {error}"
        opened.rest(name, reason)
        _log.info("the channel %s is broken: %s", name, reason)  # The answer tells it to whoever asked.
        return Failed(State.BROKEN, reason)


def broken(consulted: Mapping[str, Consulted]) -> dict[str, str]:
    """Name and reason of each channel that should have answered and could not."""
    return {name: one.reason for name, one in consulted.items() if one.state is State.BROKEN}
