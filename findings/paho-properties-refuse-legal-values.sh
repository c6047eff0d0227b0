#!/bin/sh
# paho-mqtt's public codec for the properties of MQTT 5 refuses values that the standard allows, one of which it writes itself.
#
# One would guess: whoever needs the properties and reason codes of MQTT 5 without a client (a proxy, a test's broker) can use
# paho's `Properties` as a codec: what is legal is read, what was packed can be unpacked.
# What happens: a Maximum Packet Size above 268,435,455 raises MQTTException, although it is a four byte integer (MQTT 5,
# 3.1.2.11.4), and some clients send 2**32-1 for "no limit". U+FEFF in a text raises MalformedPacket, although 1.5.4 says that
# it must not be stripped; paho packs it without a word.
# What helps: read that one number beside paho, and do not take each of its exceptions for a fault of the peer.
#
# Seen with paho-mqtt 2.2.0 on Python 3.11. Needs python3 with venv, and the package index.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet paho-mqtt==2.2.0
cat > "$scratch/show.py" << 'END'
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def read(kind, data):
    try:
        Properties(kind).unpack(data)
    except Exception as error:
        return type(error).__name__
    return "read"


for size in (268_435_455, 268_435_456, 2**32 - 1):
    print("Maximum Packet Size", size, read(PacketTypes.CONNECT, b"\x05\x27" + size.to_bytes(4, "big")))
written = Properties(PacketTypes.PUBLISH)
written.UserProperty = ("key", "\ufeff")
print("U+FEFF, as paho has packed it", read(PacketTypes.PUBLISH, written.pack()))
END
said=$("$scratch/venv/bin/python" "$scratch/show.py")
echo "$said"
[ "$said" = "Maximum Packet Size 268435455 read
Maximum Packet Size 268435456 MQTTException
Maximum Packet Size 4294967295 MQTTException
U+FEFF, as paho has packed it MalformedPacket" ]
