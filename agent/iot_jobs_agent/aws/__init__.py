"""The way to AWS IoT Core, over MQTT and HTTPS: the only files that know the AWS SDK, which ships no types."""
