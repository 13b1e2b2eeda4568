"""Dashboard: batches and graphs."""
