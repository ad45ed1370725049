"""Partitions follow the store: Dagster knows every repository that is registered, and none that is gone.

Belongs here: adding and removing partitions. Not here: the partition set (`assets.partitions`).
"""

from __future__ import annotations

import dagster as dg

from assets.partitions import PARTITION_SET
from pipeline.errors import CodeIntelError
from resources.store import StoreResource


def follow_store(instance: dg.DagsterInstance, store: StoreResource) -> None:
    """Make Dagster's partitions those of the store. Where the store cannot be read, they stay as they are."""
    try:
        registered = {repository.name for repository in store.open().repositories()}
    except (CodeIntelError, OSError):
        return
    known = set(instance.get_dynamic_partitions(PARTITION_SET))
    if missing := sorted(registered - known):
        instance.add_dynamic_partitions(PARTITION_SET, missing)
    for name in sorted(known - registered):
        instance.delete_dynamic_partition(PARTITION_SET, name)
