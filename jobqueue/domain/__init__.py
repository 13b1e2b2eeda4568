"""Values and rules of jobs: standard library only, no I/O and no clock."""
