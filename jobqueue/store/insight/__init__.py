"""Storage: statistics, events, metrics and the audit."""
