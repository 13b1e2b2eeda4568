"""Run one claimed job."""
