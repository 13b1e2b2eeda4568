"""The HTTP API: schedules."""
