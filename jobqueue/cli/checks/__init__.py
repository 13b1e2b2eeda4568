"""The command line: settings, health and the doctor."""
