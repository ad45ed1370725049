"""The vector index: families, building, searching, changing it, and its files."""
