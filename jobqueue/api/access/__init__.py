"""The HTTP API: tokens, roles and scopes."""
