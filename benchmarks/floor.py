"""The floor: what a connected, idle process with our packages costs, before any of our own code.

Same imports as the agent, and the same that asyncio and the rest do without (`ssl` and others: see the agent's
`light.py`); same connection (MQTT 3.1.1, mutual TLS, one event loop thread of the SDK's, the five filters of the
default namespace), an asyncio loop that waits for SIGTERM, and nothing else. Runs in the device environment; imports
nothing of ours.

    floor.py ENDPOINT PORT THING CERTIFICATES_DIRECTORY

Prints "imported" and "connected" as it gets there. `floor.py --imports` ends after the imports.
"""

import sys

sys.modules.update(dict.fromkeys(("ssl", "_hashlib", "_uuid", "bz2", "lzma")))  # type: ignore[arg-type]  # no such module

import asyncio
import concurrent.futures.thread
import shlex
import shutil
import signal
import sqlite3
import tomllib

import structlog
from awscrt import http, io, mqtt

IMPORTED = (concurrent.futures.thread, shlex, shutil, tomllib, sqlite3, structlog, http, mqtt)


async def connect_and_wait(endpoint: str, port: int, thing: str, certificates: str) -> None:
    """Connect as the agent does, then wait for SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    group = io.EventLoopGroup(1)
    options = io.TlsContextOptions.create_client_with_mtls_from_path(
        f"{certificates}/client.pem", f"{certificates}/client.key"
    )
    options.override_default_trust_store_from_path(None, f"{certificates}/ca.pem")
    bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
    connection = mqtt.Connection(
        mqtt.Client(bootstrap, io.ClientTlsContext(options)),
        host_name=endpoint,
        port=port,
        client_id=thing,
        clean_session=False,
        keep_alive_secs=60,
    )
    await asyncio.wrap_future(connection.connect())
    for request in ("get/+", "+/get/+", "+/update/+", "notify", "notify-next"):
        subscribed, _ = connection.subscribe(
            f"$aws/things/{thing}/jobs/{request}", mqtt.QoS.AT_LEAST_ONCE, lambda **_: None
        )
        await asyncio.wrap_future(subscribed)
    print("connected", flush=True)
    await stopped.wait()
    await asyncio.wrap_future(connection.disconnect())


if __name__ == "__main__":
    print("imported", flush=True)
    if sys.argv[1:] != ["--imports"]:
        where, number, name, directory = sys.argv[1:]
        asyncio.run(connect_and_wait(where, int(number), name, directory))
