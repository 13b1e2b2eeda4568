"""Dashboard: schedules."""
