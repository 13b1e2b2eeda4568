"""Services: concurrency, rates and circuit breakers."""
