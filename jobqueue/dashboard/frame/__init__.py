"""Dashboard: the parts that all pages share."""
