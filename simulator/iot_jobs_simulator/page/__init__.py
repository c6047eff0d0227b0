"""What the simulator's page shows: rows of the store, the course of a rollout. Pure, and reads only.

`http.page` sends it; the HTML, the script and the style are in `assets`, which have no build step.
"""
