"""The daemon: one MQTT connection to AWS IoT Core, pending job executions handed to handlers.

Rule of the package: `core` decides and touches nothing; `daemon` is the only file that performs what `core` decided;
`aws` is the only file that knows the AWS SDK.
"""
