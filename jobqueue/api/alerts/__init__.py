"""The HTTP API: alerts."""
