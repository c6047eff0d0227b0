"""paho-mqtt."""

import sys

from paho.mqtt.client import Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from steps import CA, CERTIFICATE, FILTERS, FIRST, HOST, IS_FIVE, KEY, MQTTS_PORT, THING, reply_to

ended = []
client = Client(CallbackAPIVersion.VERSION2, THING, protocol=MQTTv5 if IS_FIVE else MQTTv311)
client.tls_set(CA, CERTIFICATE, KEY)


def connected(client, _data, _flags, reason, _properties) -> None:
    assert not reason.is_failure, reason
    client.subscribe([(topic_filter, 1) for topic_filter in FILTERS])


def subscribed(client, _data, _packet_id, reasons, _properties) -> None:
    assert not any(reason.is_failure for reason in reasons), reasons
    client.publish(*FIRST, qos=1)


def heard(client, _data, message) -> None:
    reply = reply_to(message.topic, message.payload)
    if reply is None:
        ended.append(message.topic)
        client.disconnect()
    else:
        client.publish(*reply, qos=1)


client.on_connect, client.on_subscribe, client.on_message = connected, subscribed, heard
client.connect(HOST, MQTTS_PORT)
client.loop_forever()  # its result says that there is no connection any more, also after `disconnect`
sys.exit(0 if ended else 1)
