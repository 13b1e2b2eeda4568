"""The command line: queues and their configuration."""
