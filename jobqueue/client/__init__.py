"""Clients of the HTTP API: the calls of `JobQueue` for programs without access to the database.

This package loads no driver of MongoDB.
"""
