"""The command line: services and workers as processes."""
