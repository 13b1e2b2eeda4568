"""Services: the work that follows the end of a job."""
