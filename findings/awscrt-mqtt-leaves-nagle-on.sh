#!/bin/sh
# The MQTT connection of awscrt (and so of the AWS IoT Device SDK for Python) leaves Nagle's algorithm on.
#
# One would guess: a client that exchanges small packets sets TCP_NODELAY, as most HTTP, gRPC and database clients do, and as
# brokers do on their side; and if it does not, its socket options offer a switch.
# What happens: the socket has TCP_NODELAY=0, and SocketOptions has domain, type, connect time-out and keep-alive, but nothing
# for it. A device that acknowledges a message (PUBACK, which nobody answers) and then sends a request waits with the
# request until the peer's delayed acknowledgement comes: 40 ms on Linux, each time.
# What helps: set the option from outside on the connected socket, which Python finds by its peer among /proc/self/fd.
#
# Seen with awscrt 0.36.1 on Python 3.11 and Linux. Needs python3 with venv, and the package index.
set -eu
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet awscrt==0.36.1
cat > "$scratch/show.py" << 'END'
import os
import socket
import stat
import threading

from awscrt import io, mqtt

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]


def serve():
    peer, _ = listener.accept()
    peer.recv(4096)  # CONNECT
    peer.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted
    peer.recv(4096)  # DISCONNECT


threading.Thread(target=serve, daemon=True).start()
options = io.SocketOptions()
client = mqtt.Client(io.ClientBootstrap.get_or_create_static_default())
connection = mqtt.Connection(client, "127.0.0.1", port, "device", socket_options=options)
connection.connect().result(10)
for name in os.listdir("/proc/self/fd"):
    try:
        if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            continue
        with socket.socket(fileno=os.dup(int(name))) as found:
            if found.getpeername()[1] == port:
                print("TCP_NODELAY =", found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    except OSError:
        continue
print("switches:", ", ".join(sorted(name for name in options.__slots__)))
connection.disconnect().result(10)
END
cd "$scratch"
said=$(venv/bin/python show.py)
echo "$said"
echo "$said" | grep -q '^TCP_NODELAY = 0$'
! echo "$said" | grep -qi 'switches:.*nodelay'
