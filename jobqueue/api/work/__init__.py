"""The HTTP API: claims, attempts, leases and workers."""
