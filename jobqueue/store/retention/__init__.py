"""Storage: deletion of old jobs."""
