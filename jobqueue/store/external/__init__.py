"""Storage: documents that other tools write."""
