"""The domain: queues and their configuration."""
