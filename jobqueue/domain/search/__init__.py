"""The domain: filters, pipelines and listings."""
