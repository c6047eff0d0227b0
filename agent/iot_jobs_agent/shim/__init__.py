"""The process that supervises one handler process and outlives the agent.

It is started for each attempt, as `python -I -S`: standard library only, as little of it as will do, and of ours
nothing but this package (tests/unit/test_shim.py). It never waits for the agent, which may be gone.
"""
