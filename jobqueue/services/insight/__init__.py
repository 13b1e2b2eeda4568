"""Services: statistics, events, metrics and the audit."""
