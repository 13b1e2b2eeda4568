"""The HTTP API: callers and their rights."""
