"""The domain: statistics, events, metrics and the audit."""
