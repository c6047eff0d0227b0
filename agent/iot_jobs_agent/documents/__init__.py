"""Turns a job document into a plan, or into the reason why it has none. Pure: what the device offers is an argument."""
