"""Typed tasks: functions whose calls can be added as jobs, by a queue or over HTTP."""
