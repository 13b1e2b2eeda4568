"""Dashboard: the overview and the audit."""
