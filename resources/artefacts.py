"""The IO manager of artefacts: it moves references, never data.

A stage's result is committed to the store before Dagster sees it, and the asset's ref points at it. Loading an input follows
the ref and verifies the object, also when an asset is selected alone.

Belongs here: how a reference travels between assets, and the audit line of a run. Not here: lookup and verification
(`pipeline.store.objects`).
"""

# No `from __future__ import annotations` here: Dagster reads the fields of resources as objects.

from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import msgspec

from pipeline.errors import CodeIntelError
from pipeline.interfaces.observing.logs import factory_line
from pipeline.stage import Artefact
from pipeline.stages import KINDS
from pipeline.store.objects import settled
from resources.store import StoreResource, repository_of


class ArtefactIOManager(dg.ConfigurableIOManager):
    """Loads `Artefact`s by their refs."""

    store: dg.ResourceDependency[StoreResource]

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Tell in the log of the run what works here, in one line. Where that cannot be said, its first step says why."""
        repository = repository_of(context)
        if repository is None or context.log is None:
            return
        with suppress(CodeIntelError):
            line = factory_line(Path(self.store.data), self.store.settings(repository), repository=repository)
            context.log.info(f"builds: {msgspec.json.encode(line).decode()}")

    def handle_output(self, context: dg.OutputContext, obj: Artefact[Any]) -> None:
        """Nothing to write: the store holds the object and the ref already."""

    def load_input(self, context: dg.InputContext) -> Artefact[Any]:
        """What the upstream asset last settled on in this partition, verified."""
        asset = context.asset_key.path[-1]
        return settled(self.store.repository(context.partition_key), KINDS[asset])
