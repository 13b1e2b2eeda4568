"""Storage: claims, attempts, leases and workers."""
