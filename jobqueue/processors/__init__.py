"""How one claimed job is run."""
