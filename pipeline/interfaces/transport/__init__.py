"""What every HTTP server here does before, around and after a request, whatever it answers: addresses, tokens, headers, bounds
of connections and bodies, errors, the end. `interfaces.http` and `interfaces.mcp` stand on it.
"""
