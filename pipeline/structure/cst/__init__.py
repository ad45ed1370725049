"""Concrete syntax of Python, by libcst."""
