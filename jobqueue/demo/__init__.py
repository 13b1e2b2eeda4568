"""`jobqueue demo`: three stages of jobs over Python's own standard library, some of which really do not compile."""
