"""The MQTT listeners. Only `broker` knows amqtt; the others see bytes and packets before it does."""
