"""The HTTP API: steps of running jobs and their results."""
