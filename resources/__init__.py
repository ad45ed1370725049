"""Dagster resources: the store that a run works in, and the manager that hands artefacts from asset to asset."""
