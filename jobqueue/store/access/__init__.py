"""Storage: tokens, roles and scopes."""
