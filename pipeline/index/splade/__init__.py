"""Learned sparse retrieval: SPLADE encodings of chunks and an impact index over them."""
