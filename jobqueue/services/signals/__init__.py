"""Services: wake-ups, configuration, traces and logs."""
