"""The HTTP API: statistics, events, metrics and the audit."""
