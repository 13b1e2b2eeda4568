"""Alerts, and what they have told of."""
