"""The HTTP API: health, metrics and the list of routes."""
