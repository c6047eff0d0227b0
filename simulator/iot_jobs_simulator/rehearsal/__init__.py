"""A rollout in virtual time: a fleet that is made up, the service's real rules, and what one asks of them.

`core` runs one seed through the rules in `jobs`; `kernel` does the same with arrays for many seeds, and nothing that
the core does not do. Both take the same fates, which are drawn beforehand. Nothing here waits or listens.
"""
