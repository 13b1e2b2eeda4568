"""Storage: the embedded MongoDB."""
