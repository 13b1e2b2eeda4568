"""Dashboard: failures and operations."""
