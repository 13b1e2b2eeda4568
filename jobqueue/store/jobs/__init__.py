"""Storage: jobs and their states."""
