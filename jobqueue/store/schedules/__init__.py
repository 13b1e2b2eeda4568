"""Storage: schedules."""
