"""The domain: concurrency, rates and circuit breakers."""
