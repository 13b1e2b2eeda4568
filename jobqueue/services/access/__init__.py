"""Services: tokens, roles and scopes."""
