"""Alerts: their definitions, the search for things to tell of, and the sending of messages."""
