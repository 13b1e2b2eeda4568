"""The command line: output and options."""
