"""The domain: batches and dependencies."""
