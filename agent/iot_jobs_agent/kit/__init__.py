"""Tools for handler authors: run one handler as the agent would, and check what every handler must get right."""
