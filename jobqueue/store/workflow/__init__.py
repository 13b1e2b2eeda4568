"""Storage: batches and dependencies."""
