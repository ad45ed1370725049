"""One page that tells how good a version is."""
