"""Dashboard: one job, with its starts, its log and its values."""
