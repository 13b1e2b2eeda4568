"""Values of jobs: payloads, their checks and times as text."""
