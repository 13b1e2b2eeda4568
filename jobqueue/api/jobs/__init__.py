"""The HTTP API: jobs and their states."""
