"""Storage: concurrency, rates and circuit breakers."""
