"""The engine of codeintel-pipeline: repositories in, a verified retrieval index out.

Plain Python. `docs/architecture.md` shows the rooms; data flows from `source` down to `interfaces`, and a room imports only
from the rooms before it. Nothing here but `definitions.py` knows Dagster.
"""

__version__ = "0.1.0"
