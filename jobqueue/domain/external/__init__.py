"""The domain: documents that other tools write."""
