"""Queries made from a repository: what people would ask for its parts, and where the answers lie."""
