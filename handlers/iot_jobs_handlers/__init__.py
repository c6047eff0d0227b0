"""Built-in handlers. Each runs in its own process and imports nothing of the agent but `iot_jobs_agent.handler`."""
