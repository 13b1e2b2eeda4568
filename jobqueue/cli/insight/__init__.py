"""The command line: statistics, events, metrics and the audit."""
