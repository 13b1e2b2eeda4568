"""The domain: schedules."""
