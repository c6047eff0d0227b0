"""Attempts: started at most once, watched to their end, found again, and what is kept of them. Knows no service."""
