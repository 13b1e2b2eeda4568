"""Dashboard: what people do with one job."""
