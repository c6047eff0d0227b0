"""One TLS port for two protocols: what a client names in ALPN decides, as on port 443 of AWS IoT Core.

Developer guide, page `protocols`: `x-amzn-mqtt-ca` and, with a custom authorizer, `mqtt` are MQTT; `x-amzn-http-ca` is
HTTPS. A client that names nothing speaks what the port is for.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias, cast

HTTP: Final = "x-amzn-http-ca"
NAMES: Final = ("x-amzn-mqtt-ca", "mqtt", HTTP)

ProtocolFactory: TypeAlias = Callable[[], asyncio.Protocol]


class ByAlpn(asyncio.Protocol):
    """Hands a connection over as soon as its handshake is done."""

    def __init__(self, mqtt: ProtocolFactory, http: ProtocolFactory) -> None:
        self._mqtt = mqtt
        self._http = http

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the right one of both protocols go on."""
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        protocol = self._http() if chosen == HTTP else self._mqtt()
        cast("asyncio.Transport", transport).set_protocol(protocol)
        protocol.connection_made(transport)
