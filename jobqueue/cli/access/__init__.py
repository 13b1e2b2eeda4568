"""The command line: tokens, roles and scopes."""
