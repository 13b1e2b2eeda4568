"""Dashboard: login and tokens."""
