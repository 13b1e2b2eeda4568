"""Dashboard: workers."""
