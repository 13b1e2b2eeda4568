"""Processes of Python that start at once, as copies of one that has imported everything."""
