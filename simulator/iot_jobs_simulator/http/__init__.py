"""The HTTP listeners: the REST planes, the simulator's own endpoints, and S3's. The only package that knows aiohttp."""
