"""Alerts: messages to people about what needs them."""
