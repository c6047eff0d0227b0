"""Both MQTT ports: one without TLS for whoever looks on, one with mutual TLS for devices, which may ask for HTTPS."""

import asyncio
import logging
import socket
import ssl
from typing import Any, Final

from iot_jobs_simulator.alpn import ByAlpn, ProtocolFactory
from iot_jobs_simulator.mqtt.broker import MqttBroker
from iot_jobs_simulator.mqtt.gate import Gate, OnRequest
from iot_jobs_simulator.sockets import listen

_log = logging.getLogger(__name__)
_TLS_WITHIN_S: Final = 10
_GONE_WITHIN_S: Final = 2
_BACKLOG: Final = 1024


class MqttListener:
    """Lets clients in to the broker. May be stopped and started again on the same ports; sessions survive that.

    `plain` and `secure` are bound already and become its own. `https` goes on with clients that name it in ALPN.
    """

    def __init__(
        self,
        broker: MqttBroker,
        plain: socket.socket,
        secure: socket.socket,
        *,
        tls: ssl.SSLContext,
        on_request: OnRequest,
        https: ProtocolFactory,
    ) -> None:
        self._broker = broker
        self._addresses = [plain.getsockname()[:2], secure.getsockname()[:2]]
        self._sockets = [plain, secure]
        self._tls = tls
        self._on_request = on_request
        self._https = https
        self._listeners: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[Any], Gate] = {}

    @property
    def mqtt_port(self) -> int:
        """The port without TLS."""
        return int(self._addresses[0][1])

    @property
    def mqtts_port(self) -> int:
        """The port with mutual TLS."""
        return int(self._addresses[1][1])

    async def start(self) -> None:
        """Listen."""
        await self._broker.start()
        plain, secure = self._sockets or [listen(address) for address in self._addresses]
        self._sockets = []
        self._listeners = [
            await asyncio.start_server(self.serve, sock=plain, backlog=_BACKLOG),
            await asyncio.get_running_loop().create_server(
                lambda: ByAlpn(self._mqtt, self._https),
                sock=secure,
                backlog=_BACKLOG,
                ssl=self._tls,
                ssl_handshake_timeout=_TLS_WITHIN_S,
                ssl_shutdown_timeout=1,
            ),
        ]

    async def stop(self, *, keep_sessions: bool) -> None:
        """Stop listening and cut every connection, without a word to the clients: so does a broker that crashes.

        Sessions that are kept go on collecting what is published meanwhile.
        """
        for listener in self._listeners:
            listener.close()
        self._listeners = []
        for gate in self._connections.values():
            gate.abort()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_GONE_WITHIN_S)
        for task in list(self._connections):
            task.cancel()
        if not keep_sessions:
            await self._broker.forget_sessions()

    def _mqtt(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self.serve)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, wherever it came in, until it ends."""
        task, gate = asyncio.current_task(), Gate(reader, writer, self._broker.rules, self._on_request)
        if task is None or not self._listeners:
            gate.abort()
            return
        self._connections[task] = gate
        try:
            await self._broker.serve(gate)
        except Exception as error:  # noqa: BLE001 - no bytes of a client may stop the service, and amqtt lets most through
            _log.info("mqtt  connection of %r ends: %r", gate.client_id, error)
        finally:
            del self._connections[task]
            gate.abort()
