"""The domain: tokens, roles and scopes."""
