#!/bin/sh
# paho-mqtt's loop_forever() returns an error after the program itself has disconnected in good order.
#
# One would guess: `sys.exit(client.loop_forever())` is 0 when a callback ends the work with `client.disconnect()`, as the
# return value is "MQTT_ERR_SUCCESS on success, >0 on error".
# What happens: on_disconnect hears "Normal disconnection", and loop_forever() returns MQTT_ERR_CONN_LOST (7) in 2.1.0 and
# MQTT_ERR_NO_CONN (4) in 2.2.0. A program that believes it fails each time it succeeds.
# What helps: keep the reason of on_disconnect, or a flag of your own, and ignore the return value.
#
# Seen with paho-mqtt 2.1.0 and 2.2.0 on Python 3.11. Needs python3 with venv, and the package index.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
cat > "$scratch/show.py" << 'END'
import socket
import threading

import paho.mqtt.client as paho

listener = socket.create_server(("127.0.0.1", 0))


def serve():
    peer, _ = listener.accept()
    peer.recv(100)  # CONNECT
    peer.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted
    peer.recv(100)  # DISCONNECT
    peer.close()


threading.Thread(target=serve, daemon=True).start()
reasons = []
client = paho.Client(paho.CallbackAPIVersion.VERSION2, "device")
client.on_connect = lambda client, *_: client.disconnect()
client.on_disconnect = lambda client, data, flags, reason, properties: reasons.append(str(reason))
client.connect(*listener.getsockname())
returned = client.loop_forever()
print(f"on_disconnect: {reasons[0]}; loop_forever: {int(returned)}")
END
for expected in 2.1.0=7 2.2.0=4; do
    version=${expected%=*}
    "$scratch/venv/bin/pip" install --quiet "paho-mqtt==$version"
    said=$("$scratch/venv/bin/python" "$scratch/show.py")
    echo "$version: $said"
    [ "$said" = "on_disconnect: Normal disconnection; loop_forever: ${expected#*=}" ]
done
