"""gmqtt."""

import asyncio
import ssl

import gmqtt
from steps import CA, CERTIFICATE, FILTERS, FIRST, HOST, IS_FIVE, KEY, MQTTS_PORT, THING, WAIT_S, reply_to


async def main() -> None:
    client, ended = gmqtt.Client(THING), asyncio.Event()

    def heard(client, topic, payload, _qos, _properties) -> int:
        reply = reply_to(topic, payload)
        if reply is None:
            ended.set()
        else:
            client.publish(*reply, qos=1)
        return 0

    def subscribed(client, _packet_id, _qos, _properties) -> None:
        client.publish(*FIRST, qos=1)

    client.on_message, client.on_subscribe = heard, subscribed
    tls = ssl.create_default_context(cafile=CA)
    tls.load_cert_chain(CERTIFICATE, KEY)
    version = gmqtt.constants.MQTTv50 if IS_FIVE else gmqtt.constants.MQTTv311
    await client.connect(HOST, MQTTS_PORT, ssl=tls, version=version)
    client.subscribe([gmqtt.Subscription(topic_filter, qos=1) for topic_filter in FILTERS])
    await ended.wait()
    await client.disconnect()


asyncio.run(asyncio.wait_for(main(), WAIT_S))
