"""Commands: steps."""
