"""Steps, signals and calls of jobs."""
