"""The shape and the types of what comes in and goes out. Which values are acceptable, the domain says."""
