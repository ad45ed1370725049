"""The point at which the vector index is searched, chosen by measurement."""
