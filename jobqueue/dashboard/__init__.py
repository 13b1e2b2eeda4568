"""The dashboard: pages for people, made of the replies of the HTTP API."""
