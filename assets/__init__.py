"""The asset graph: one module a group. Bodies are thin; what they do stands in `pipeline`."""
