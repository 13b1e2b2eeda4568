"""The command line: operations on many jobs, and groups of failures."""
