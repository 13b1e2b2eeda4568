"""The command line: servers and workers that run."""
