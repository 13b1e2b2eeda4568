"""Run a job that a bundle describes once more, in this process and without a database."""
