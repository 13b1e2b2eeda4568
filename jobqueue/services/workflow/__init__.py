"""Services: batches and dependencies."""
