"""Token-level late interaction: a vector for each token; a chunk scores by its nearest token to each of the query."""
