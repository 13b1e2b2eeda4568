"""The command line: the demo."""
