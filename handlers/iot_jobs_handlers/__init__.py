"""Built-in handlers. Each imports `agent.handler` and nothing else of ours, and runs in a process of its own."""
