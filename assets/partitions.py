"""The one dimension that the graph is partitioned by.

Belongs here: the partition set, shared by assets, jobs, sensors and schedules. Never partition by file or commit.
"""

from __future__ import annotations

import warnings

import dagster as dg

REPOSITORIES = dg.DynamicPartitionsDefinition(name="repo")
"""Registered repositories; `indexctl build` and the commit sensor add to it."""

PARTITION_SET = "repo"

# Checks are partitioned too, or the green of one repository would cover the red of another. Dagster calls that a preview.
warnings.filterwarnings("ignore", message="Specifying a partitions_def on an AssetCheckSpec")
