"""Processors: webhooks."""
