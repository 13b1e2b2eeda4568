"""Use cases: no HTTP, no MongoDB."""
