"""The HTTP API: operations on many jobs, and groups of failures."""
