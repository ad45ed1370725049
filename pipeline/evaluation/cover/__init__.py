"""Coverage: what of a repository is in the index, and which of its definitions are found by their own queries."""
