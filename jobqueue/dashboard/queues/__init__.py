"""Dashboard: queues."""
