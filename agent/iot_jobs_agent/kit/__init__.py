"""What handler authors have: one handler run as the agent would run it, and what every handler must get right."""
