"""The HTTP API: requests and replies."""
