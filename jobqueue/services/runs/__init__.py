"""Use cases: runs of claimed jobs, from the claim to the outcome."""
