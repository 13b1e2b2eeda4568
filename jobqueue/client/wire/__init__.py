"""Clients: the forms of requests and of replies."""
