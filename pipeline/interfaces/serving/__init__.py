"""What the MCP server and the HTTP service share: requests, open versions, and answers."""
