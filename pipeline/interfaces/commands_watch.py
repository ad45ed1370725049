"""`indexctl watch`: a build whenever the tree has moved and come to rest.

Belongs here: the loop, and what it says. Not here: noticing (`source.watching`), or building (`commands_build`).
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.interfaces.builds import Run
from pipeline.interfaces.commands_build import AllowRegression, Ephemeral, NoScip, Target, build_and_report
from pipeline.interfaces.options import Data, Json, Repo

if TYPE_CHECKING:
    from pipeline.source.watching import Bell, Tree

_BUSY = 0.5
"""Seconds between two attempts while somebody else builds."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("watch")(watch)


def watch(
    path: Target = Path(), repo: Repo = None, no_scip: NoScip = False, allow_regression: AllowRegression = False,
    ephemeral: Ephemeral = False, data: Data = None, json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; only what came of each build.")] = False,
    poll: Annotated[
        float | None, typer.Option("--poll", min=0.1, metavar="SECONDS", help="Look so often, and ask for no notices.")
    ] = None,
) -> None:  # fmt: skip
    """Keep the index of a work tree up to date until Ctrl-C: build when it has changed and come to rest."""
    from pipeline import planning
    from pipeline.interfaces.scip_options import symbols_from
    from pipeline.source.watching import Bell, Tree, notices
    from pipeline.store.layout import create_store
    from pipeline.store.place import data_folder

    planning.folder_at(path)
    store = create_store(data_folder(data))
    tree, bell = Tree.at(path, store.root), Bell()
    run = Run(ephemeral=ephemeral, allow_regression=allow_regression, full=False)
    with _ends_by_signal(), symbols_from(no_scip, []), notices(tree, bell, poll=poll) as source:
        watcher = Watcher(path, repo, data, run, json, quiet or json)
        watcher.say(f"watching {tree.root} ({source}); Ctrl-C ends it")
        try:
            watcher.follow(tree, bell)
        except KeyboardInterrupt:
            watcher.say("stopped; what is published stays")


@contextmanager
def _ends_by_signal() -> Iterator[None]:
    """A polite kill is Ctrl-C, so that nothing is left half done that need not be."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _let_go() -> None:
    """Give back what a build leaves. A command ends and need not look for garbage; this one goes on for days."""
    gc.collect()
    if "pyarrow" in sys.modules:
        import pyarrow as pa

        pa.default_memory_pool().release_unused()


@dataclass
class Watcher:
    """What is watched and how it is built; remembers the version that it last made."""

    path: Path
    repo: str | None
    data: Path | None
    run: Run
    json: bool
    quiet: bool
    made: str | None = None
    failed: str | None = None
    """What the tree was when it was last tried in vain; None: nothing failed, or it moved meanwhile."""

    def say(self, text: str) -> None:
        """A line for people, on standard error."""
        from pipeline.interfaces.output import printable

        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    def follow(self, tree: Tree, bell: Bell) -> None:
        """Build, and again whenever it is needed, for ever. Raises `SourceError` when the folder is gone."""
        from pipeline.errors import SourceError
        from pipeline.source.watching import wait_until_quiet

        self.build(bell)
        while True:
            _let_go()
            settings = self._settings()
            wait_until_quiet(bell, tree, debounce=settings.watch_debounce, most_delay=settings.watch_most_delay)
            if not tree.root.is_dir():
                raise SourceError(f"{tree.root} is gone.", hint="What is published stays; watch it again when it is back.")
            if self.is_needed():
                self.build(bell)

    def _settings(self) -> Any:
        """When to build, as the settings say now; as they say by default while they are wrong, which the build tells."""
        from pipeline.config import WatchSettings
        from pipeline.errors import CodeIntelError

        try:
            return self._settled()[3].watch
        except CodeIntelError:
            return WatchSettings()

    def _settled(self) -> tuple[Any, Any, Any, Any]:
        """Store, repository, origin and settings as they are now."""
        from pipeline import planning
        from pipeline.interfaces.context import choose_store
        from pipeline.store.layout import settings_of

        store = choose_store(self.data)
        repository, origin = planning.locate(store, self.path, name=self.repo)
        return store, repository, origin, settings_of(store, origin)

    def is_needed(self) -> bool:
        """Whether the tree is another one than was last built here, or at another commit; what cannot be told is built."""
        from pipeline.errors import CodeIntelError
        from pipeline.interfaces.looking import freshness_of
        from pipeline.store.versions import open_version

        if self.made is None:
            return self.failed is None or self.failed != self._signature()
        try:
            store, repository, origin, settings = self._settled()
            with open_version(repository, self.made) as version:
                fresh = freshness_of(store, repository, version, settings, Path(origin.path))
                return fresh.stale or fresh.commit != version.manifest.commit
        except CodeIntelError:
            return True

    def _signature(self) -> str:
        """What a failed build would be a build of. The same again would fail again."""
        from pipeline import planning
        from pipeline.errors import CodeIntelError

        try:
            store, repository, origin, settings = self._settled()
            scan = planning.scan_origin(store, repository, origin, settings)
        except CodeIntelError as error:
            return str(error)
        return f"{scan.digest} {scan.commit} {settings.flat()}"

    def build(self, bell: Bell) -> None:
        """Build and tell; an error is told too, and ends nothing. Whoever else builds is waited for."""
        from pipeline.errors import CodeIntelError, StoreBusyError
        from pipeline.interfaces.output import print_error
        from pipeline.store.versions import current_or_none

        started, told = time.perf_counter(), False
        while True:
            try:
                build_and_report(
                    self.path, None, self.repo, self.data, run=self.run, json=self.json, quiet=self.quiet, started=started
                )
                self.made, self.failed = current_or_none(self._settled()[1]), None
            except StoreBusyError as error:
                if not told:
                    self.say(f"waiting: {error.message}")
                told = True
                time.sleep(_BUSY)
                continue
            except CodeIntelError as error:
                print_error(error)
                self._fail(error.message, bell)
            except BrokenPipeError:
                raise  # Nobody reads on.
            except Exception as error:
                # A mistake of ours; the next change may be without it.
                message = f"unexpected {type(error).__name__}: {error}"
                self.say(f"indexctl: {message}. Run `indexctl --debug build` to see where.")
                self._fail(message, bell)
            return

    def _fail(self, message: str, bell: Bell) -> None:
        """Tell machines, and remember what was tried, unless it moved meanwhile."""
        from pipeline.interfaces.output import print_json

        self.made, self.failed = None, None if bell.wait(0) else self._signature()
        if self.json:
            print_json({"published": False, "problems": [{"problem": message}]})
