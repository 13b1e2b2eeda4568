"""Commands: replay."""
