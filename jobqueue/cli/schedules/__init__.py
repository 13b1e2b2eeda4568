"""The command line: schedules."""
