"""HTTP API: tokens."""
