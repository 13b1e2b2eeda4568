"""The command line: batches and dependencies."""
