"""Dashboard: the list of jobs and their search."""
