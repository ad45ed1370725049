"""Token-level late interaction: a vector for each token, and scores by which token of a chunk is nearest to each of the query."""
