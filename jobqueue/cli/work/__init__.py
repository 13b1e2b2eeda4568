"""Command line: workers and the types that they serve."""
