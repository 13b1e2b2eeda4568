"""Attempts: states, backoffs, crashes and fingerprints of failures."""
