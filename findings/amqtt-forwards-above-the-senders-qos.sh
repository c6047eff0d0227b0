#!/bin/sh
# amqtt delivers a message with the QoS of the subscription, even where it was published with a lower one.
#
# One would guess: the QoS of a delivery is the lower one of what it was published with and what the subscription was granted (MQTT
# 3.1.1, section 3.8.4), so a test against amqtt sees the QoS that a real broker would use.
# What happens: what was published with QoS 0 reaches a subscriber with QoS 1 as QoS 1, with a packet id, and has to be
# acknowledged. A client under test gets acknowledgements, duplicates and queues that it would not have elsewhere.
# What helps: compare what was published with what came where a test is about QoS, or publish with the QoS that you subscribe with.
#
# Seen with amqtt 0.12.1 and paho-mqtt 2.2.0 on Python 3.11. Needs python3 with venv, and the package index.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet amqtt==0.12.1 paho-mqtt==2.2.0
cat > "$scratch/show.py" << 'END'
import asyncio
import logging
import socket

import paho.mqtt.client as paho
from amqtt.broker import Broker

logging.disable(logging.CRITICAL)
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]


def client(name):
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, name)
    made.connect("127.0.0.1", port)
    made.loop_start()
    return made


async def main():
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    await broker.start()
    loop, subscribed, heard = asyncio.get_running_loop(), asyncio.Event(), asyncio.Queue()
    listener = await asyncio.to_thread(client, "listener")
    listener.on_subscribe = lambda *_: loop.call_soon_threadsafe(subscribed.set)
    listener.on_message = lambda _, __, message: loop.call_soon_threadsafe(heard.put_nowait, message.qos)
    await asyncio.to_thread(listener.subscribe, "topic", 1)
    await asyncio.wait_for(subscribed.wait(), 10)
    sender = await asyncio.to_thread(client, "sender")
    await asyncio.to_thread(sender.publish, "topic", b"hello", 0)
    print("published with QoS 0, subscribed with QoS 1, delivered with QoS", await asyncio.wait_for(heard.get(), 10))
    for each in (listener, sender):
        await asyncio.to_thread(each.disconnect)
        await asyncio.to_thread(each.loop_stop)
    await broker.shutdown()


asyncio.run(main())
END
said=$("$scratch/venv/bin/python" "$scratch/show.py")
echo "$said"
[ "$said" = "published with QoS 0, subscribed with QoS 1, delivered with QoS 1" ]
