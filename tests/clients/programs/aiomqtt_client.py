"""aiomqtt."""

import asyncio

import aiomqtt
from steps import CA, CERTIFICATE, FILTERS, FIRST, HOST, IS_FIVE, KEY, MQTTS_PORT, THING, WAIT_S, reply_to


async def main() -> None:
    version = aiomqtt.ProtocolVersion.V5 if IS_FIVE else aiomqtt.ProtocolVersion.V311
    tls = aiomqtt.TLSParameters(ca_certs=CA, certfile=CERTIFICATE, keyfile=KEY)
    async with aiomqtt.Client(HOST, MQTTS_PORT, identifier=THING, protocol=version, tls_params=tls) as client:
        await client.subscribe([(topic_filter, 1) for topic_filter in FILTERS])
        await client.publish(*FIRST, qos=1)
        async for message in client.messages:
            reply = reply_to(str(message.topic), message.payload)
            if reply is None:
                return
            await client.publish(*reply, qos=1)


asyncio.run(asyncio.wait_for(main(), WAIT_S))
