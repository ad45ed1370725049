"""SCIP: running indexers, reading their indexes, and the tables of occurrences and symbols."""
