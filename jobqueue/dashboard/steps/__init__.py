"""Dashboard: questions that wait for a person."""
