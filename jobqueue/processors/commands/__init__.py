"""Processors: commands of the server."""
