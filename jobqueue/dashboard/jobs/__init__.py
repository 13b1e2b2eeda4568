"""Dashboard: jobs."""
