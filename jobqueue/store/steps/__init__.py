"""Steps of jobs and their results."""
