"""The domain: jobs and their states."""
