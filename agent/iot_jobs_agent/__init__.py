"""The daemon: keeps one MQTT connection to AWS IoT Core and hands pending job executions to handlers.

The rules of the package: `core` decides and touches nothing. Only `daemon`, with `exchange` for requests to the
service, performs what `core` has decided. Only `aws` knows the AWS SDK.
"""
