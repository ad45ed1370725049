"""How far repositories have moved on, known to a server without a request waiting long for it.

Belongs here: when a repository is looked at again. Not here: the comparison (`source.freshness`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from pipeline.errors import CodeIntelError
from pipeline.interfaces.looking import GRACE, freshness_of
from pipeline.source.freshness import NOT_CHECKED, Freshness
from pipeline.store.layout import Repository, Store, read_origin, settings_of
from pipeline.store.versions import Version

AGE = 1.0
"""Seconds for which an answer stays good, at least."""
_COSTLY = 40
"""It stays good for so many times as long as it took to find: looking takes no more than a fortieth of a server's time."""
_MEANWHILE = 2
"""So many times as long it is given on while the next comparison goes on: under load nobody waits for one."""
_MOST_KEPT = 256


_UNKNOWN = Freshness(stale=False, files=None, reason=NOT_CHECKED)


@dataclass(eq=False)
class _Look:
    """One comparison that is under way, or was made."""

    done: threading.Event = field(default_factory=threading.Event)
    found: Freshness = _UNKNOWN
    at: float = 0.0
    good_for: float = AGE

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.at


@dataclass
class Freshnesses:
    """What is known of each repository and version, for many threads."""

    store: Store
    _looks: dict[tuple[str, str], _Look] = field(default_factory=dict, repr=False)
    _last: dict[tuple[str, str], _Look] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def of(self, version: Version, *, wait: float = GRACE) -> Freshness:
        """How the repository compares with a version: as of `AGE` seconds ago or less (in large repositories longer), or twice
        that while it is looked at again; where a comparison takes longer than `wait` seconds, what the one before found, or
        that nobody has looked yet."""
        key = (version.repository.name, version.name)
        with self._lock:
            look = self._looks.get(key)
            if look is None or (look.done.is_set() and look.age > look.good_for):
                look = self._looks[key] = _Look()
                while len(self._looks) > _MOST_KEPT:
                    oldest = next(iter(self._looks))
                    del self._looks[oldest]
                    self._last.pop(oldest, None)
                threading.Thread(target=self._compare, args=(key, version, look), name="looking", daemon=True).start()
        before = self._last.get(key, look)
        if before is not look and before.age < _MEANWHILE * before.good_for and not look.done.is_set():
            return before.found
        return look.found if look.done.wait(wait) else before.found

    def _compare(self, key: tuple[str, str], version: Version, look: _Look) -> None:
        repository: Repository = version.repository
        started = time.monotonic()
        try:
            look.found = freshness_of(self.store, repository, version, settings_of(self.store, read_origin(repository)))
        except (CodeIntelError, OSError) as error:
            look.found = Freshness(stale=True, files=None, reason=str(error))
        look.at = time.monotonic()
        look.good_for = max(AGE, _COSTLY * (look.at - started))
        self._last[key] = look
        look.done.set()
