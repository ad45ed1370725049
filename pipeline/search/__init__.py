"""Search over an open version: channels, fusion, explanation."""
