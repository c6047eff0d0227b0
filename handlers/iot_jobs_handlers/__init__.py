"""Built-in handlers. Each imports `iot_jobs_agent.handler` and nothing else of ours; it runs in its own process."""
