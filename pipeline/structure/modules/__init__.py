"""Facts about files as modules."""
