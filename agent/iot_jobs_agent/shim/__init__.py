"""The shim: the process that supervises one handler process and outlives the agent.

Each attempt starts one, as `python -I -S`. To keep that cheap, it imports as little of the standard library as it can,
and of our code only this package (tests/unit/attempts/test_shim.py). It never waits for the agent, which may be gone.
"""
