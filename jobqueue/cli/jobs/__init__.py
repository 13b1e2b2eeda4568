"""The command line: jobs and their states."""
