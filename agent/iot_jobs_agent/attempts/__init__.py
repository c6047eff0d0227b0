"""Attempts: starts each at most once, watches it to its end, finds it after a restart. Knows nothing of the service."""
