"""Cutting files into chunks, and naming them: boundaries along syntax, stable ids, kinds, previews."""
