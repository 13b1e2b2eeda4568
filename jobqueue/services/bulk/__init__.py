"""Services: operations on many jobs, and groups of failures."""
