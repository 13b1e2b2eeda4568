"""The HTTP API: batches and dependencies."""
