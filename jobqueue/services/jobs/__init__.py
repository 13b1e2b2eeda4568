"""Services: jobs and their states."""
