"""Services: schedules."""
