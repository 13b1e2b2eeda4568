"""Services: claims, attempts, leases and workers."""
