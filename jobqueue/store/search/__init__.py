"""Storage: filters, pipelines and listings."""
