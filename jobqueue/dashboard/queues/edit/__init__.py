"""Dashboard: the form of the configuration of a queue, and its preview."""
