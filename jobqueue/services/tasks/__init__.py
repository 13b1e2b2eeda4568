"""Services: typed tasks."""
