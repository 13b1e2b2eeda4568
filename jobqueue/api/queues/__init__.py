"""The HTTP API: queues and their configuration."""
