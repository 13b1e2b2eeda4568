"""The domain: claims, attempts, leases and workers."""
