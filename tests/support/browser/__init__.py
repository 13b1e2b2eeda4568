"""Browsers and pages for tests of the dashboard."""
