"""Services: queues and their configuration."""
