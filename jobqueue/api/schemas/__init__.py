"""The HTTP API: schemas that several rooms share."""
