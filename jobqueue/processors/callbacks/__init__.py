"""Processors: Python handlers."""
