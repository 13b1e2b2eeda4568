"""Storage: changes of jobs with other tools."""
