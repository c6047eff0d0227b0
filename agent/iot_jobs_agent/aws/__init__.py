"""Talks to AWS IoT Core over MQTT and HTTPS. Only the files here know the AWS SDK, which ships no types."""
