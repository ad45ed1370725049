"""The HTTP service: the answers of `serving` at addresses, with limits, OpenAPI and the page."""
