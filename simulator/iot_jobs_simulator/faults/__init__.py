"""Trouble on demand: what faults can be asked for, and the one way in which they reach either listener."""
