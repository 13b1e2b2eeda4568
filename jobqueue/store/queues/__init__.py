"""Storage: queues and their configuration."""
