"""The HTTP API: the OpenAPI document and its pages."""
