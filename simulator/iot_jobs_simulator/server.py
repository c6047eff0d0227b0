"""Everything together: `async with running_simulator() as simulator`, for the command and for tests."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from iot_jobs_simulator import alpn
from iot_jobs_simulator.certificates import provide, provide_for_thing, server_context
from iot_jobs_simulator.changes import Changes
from iot_jobs_simulator.clock import Clock
from iot_jobs_simulator.faults.faults import Faults
from iot_jobs_simulator.faults.injection import FaultInjector, HeldMessages
from iot_jobs_simulator.http.controls import Controls
from iot_jobs_simulator.http.page import Page
from iot_jobs_simulator.http.rest import RestListener
from iot_jobs_simulator.http.s3 import S3Endpoint
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.settings import ServiceSettings
from iot_jobs_simulator.jobs.store import JobStore
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.message_log import MessageLog
from iot_jobs_simulator.mqtt.broker import MqttBroker
from iot_jobs_simulator.mqtt.gate import ConnectionRules
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.mqtt.listener import MqttListener
from iot_jobs_simulator.mqtt.requests import MqttRequests
from iot_jobs_simulator.objects import Objects
from iot_jobs_simulator.placeholders import PresignedDocuments
from iot_jobs_simulator.policy import Policy, PolicyName
from iot_jobs_simulator.refusals import Refused
from iot_jobs_simulator.registry.things import Registry
from iot_jobs_simulator.service import Service
from iot_jobs_simulator.sockets import endpoint_host, listen, reachable_host


@dataclass(frozen=True, slots=True)
class _Sockets:
    """One bound socket for each listener. `host` is what they were bound to."""

    host: str
    mqtt: socket.socket
    mqtts: socket.socket
    http: socket.socket
    https: socket.socket

    @property
    def http_url(self) -> str:
        """Where boto3 and the AWS CLI go, without a slash at the end."""
        return f"http://{reachable_host(self.host)}:{self.http.getsockname()[1]}"

    @property
    def endpoints(self) -> dict[str, str]:
        """What DescribeEndpoint answers."""
        return dict.fromkeys(("iot:Data", "iot:Data-ATS"), f"{endpoint_host(self.host)}:{self.mqtts.getsockname()[1]}")


class RunningSimulator:
    """A simulator that runs in this event loop. `certificates` holds ca.pem, client.pem, client.key.

    `faults` are trouble on demand: `sim.faults.add(Lose(what="reply", operation="UpdateJobExecution", times=1))`.
    `objects` are what presigned URLs lead to: `sim.objects.put("bucket", "key", b"content")`.
    `received` holds the last messages that clients published, topic and payload, the oldest first.
    """

    def __init__(
        self, sockets: _Sockets, directory: Path, settings: ServiceSettings, policy_name: PolicyName, limits: Limits
    ) -> None:
        held, clock, registry, self._changes = HeldMessages(), Clock(), Registry(), Changes()
        self.certificates = directory
        self.objects = Objects()
        self.faults = Faults(on_cleared=held.send_all)
        self.http_url = sockets.http_url
        self.https_port = int(sockets.https.getsockname()[1])
        policy = Policy(policy_name, registry.exists)
        self._broker = MqttBroker(ConnectionRules(limits, policy, self.faults, clock.now), self._changes)
        messages = MessageLog(clock.now, self._has_execution)
        self._injector = FaultInjector(self.faults, held, messages.noting(self._broker.publish))
        documents = PresignedDocuments(self.objects, sockets.http_url, clock.now)
        self._service = Service(
            JobStore(registry, settings, documents=documents, rollout_delay_s=self._injector.rollout_delay_s),
            clock=clock,
            changes=self._changes,
            endpoints=sockets.endpoints,
            publish=self._injector.publish,
            on_thing_created=partial(_on_thing_created, policy_name, directory),
        )
        requests = MqttRequests(self._service, self._injector, messages)
        self.received = requests.received
        tls = server_context(directory, alpn.NAMES)
        self._mqtt = MqttListener(
            self._broker, sockets.mqtt, sockets.mqtts, tls=tls, on_request=requests.answer, https=self._https
        )
        self.mqtt_port, self.mqtts_port = self._mqtt.mqtt_port, self._mqtt.mqtts_port
        self._rest = self._rest_listener(sockets, policy, messages)

    def _rest_listener(self, sockets: _Sockets, policy: Policy, messages: MessageLog) -> RestListener:
        now = self._service.now
        return RestListener(
            sockets.http,
            sockets.https,
            tls=server_context(self.certificates),
            service=self._service,
            injector=self._injector,
            policy=policy,
            controls=Controls(self.faults, self._mqtt, self._broker.publish, self.objects, self._service),
            s3=S3Endpoint(self.objects, now),
            page=Page(self.store, now, self._changes, messages),
            messages=messages,
            own_name=sockets.host,
            serve_mqtt=self._mqtt.serve,
            tls_without_certificate=server_context(self.certificates, asks_for_certificate=False),
        )

    def _https(self) -> asyncio.Protocol:
        return self._rest.device_protocol()

    async def start(self) -> None:
        """Serve on all ports."""
        await self._mqtt.start()
        await self._rest.start()

    async def stop(self) -> None:
        """Close all ports and end what runs; there is no starting again."""
        self._service.stop()
        self._injector.stop()
        await asyncio.gather(self._mqtt.stop(keep_sessions=False), self._rest.stop())

    def _has_execution(self, thing_name: str, job_id: str) -> bool:
        return self.store.executions.latest(thing_name, job_id) is not None

    @property
    def store(self) -> JobStore:
        """The service's own record, to look at."""
        return self._service.store

    def operate(self, operation: str, **members: Any) -> Json:
        """Perform any operation of the control plane, spelled as for boto3 but without HTTP; raises Refused."""
        return self._service.answer_operator(operation, members)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish any bytes as the broker: forged, malformed, late or repeated notifications and replies."""
        self._broker.publish(topic, payload)

    async def advance_clock(self, seconds: float) -> float:
        """Put the service's clock forward and return the new time, once all that is due by then has happened.

        That takes place in slices, between which others are served. Refused beyond the year 2199.
        """
        return await self._service.advance_clock(seconds)

    def freeze_clock(self) -> None:
        """Have the service's time stand still: nothing becomes due but by `advance_clock`. Idempotent.

        Keep-alives, the delays of faults and AWS's rates are about real connections, and go by the machine's clock.
        """
        self._service.freeze_clock(is_frozen=True)

    def unfreeze_clock(self) -> None:
        """Let the service's time go on from where it stands. Idempotent."""
        self._service.freeze_clock(is_frozen=False)

    async def stop_broker(self, *, keep_sessions: bool = True) -> None:
        """Close both MQTT ports and cut their connections. HTTP goes on.

        Persistent sessions and what is published for them meanwhile survive, unless they are to be lost.
        """
        await self._mqtt.stop(keep_sessions=keep_sessions)

    async def start_broker(self) -> None:
        """Open the same MQTT ports again."""
        await self._mqtt.start()

    async def restart_broker(self, *, keep_sessions: bool = True) -> None:
        """Cut every MQTT connection and listen again at once."""
        await self.stop_broker(keep_sessions=keep_sessions)
        await self.start_broker()

    async def wait_for_status(self, thing_name: str, job_id: str, status: str, *, within_s: float = 5) -> None:
        """Return when the latest execution of the job has the status; TimeoutError says what it has instead."""
        wanted = ExecutionStatus(status)
        try:
            await self._changes.wait_until(lambda: self.status(thing_name, job_id) is wanted, within_s)
        except TimeoutError:
            found = self.status(thing_name, job_id)
            raise TimeoutError(f"{job_id} on {thing_name} is {found}, not {wanted}, after {within_s} s") from None

    def has_subscription(self, topic_filter: str) -> bool:
        """Whether a client that is connected has subscribed to exactly this filter."""
        return self._broker.has_subscription(topic_filter)

    async def wait_for_subscription(self, topic_filter: str, *, within_s: float = 5) -> None:
        """Return when a client that is connected has subscribed to exactly this filter; TimeoutError if none does."""
        await self._changes.wait_until(lambda: self.has_subscription(topic_filter), within_s)

    async def wait_until(self, is_so: Callable[[], bool], *, within_s: float = 5) -> None:
        """Return when a fact holds; looks again after every request, rollout, subscription and disconnect."""
        await self._changes.wait_until(is_so, within_s)

    def status(self, thing_name: str, job_id: str) -> ExecutionStatus | None:
        """Status of the latest execution of the job on the thing, None if there is none."""
        try:
            return self.store.find_execution(thing_name, job_id).status
        except Refused:
            return None


def _on_thing_created(policy_name: PolicyName, directory: Path, thing_name: str) -> None:
    if policy_name is PolicyName.STRICT:
        provide_for_thing(directory, thing_name)


@asynccontextmanager
async def running_simulator(
    *,
    mqtt_port: int = 0,
    mqtts_port: int = 0,
    http_port: int = 0,
    https_port: int = 0,
    certificates: Path | None = None,
    bind: str = "127.0.0.1",
    rollout_delay_s: float = 0.0,
    namespace_topic_of_api_text: bool = True,
    policy: PolicyName = PolicyName.OPEN,
    limits: Limits | None = None,
    **switches: Any,
) -> AsyncIterator[RunningSimulator]:
    """Run AWS IoT Jobs until the block ends. Port 0 means any free one; certificates without a directory are temporary.

    `rollout_delay_s` passes between CreateJob and the executions. `namespace_topic_of_api_text` adds, for namespaced
    jobs, notifications on the topics that the API reference prints to those that shipped clients use. With the policy
    STRICT each thing gets a certificate of its own, which is good for nothing else, and client.pem is refused.
    `bind` is an address or a name of this machine; OSError with a sentence if it is not, or if a port is in use.
    `switches` are the other fields of `ServiceSettings`.
    """
    settings = ServiceSettings(
        rollout_delay_s=rollout_delay_s, namespace_topic_of_api_text=namespace_topic_of_api_text, **switches
    )
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="iot-jobs-simulator-"))
        ports = (mqtt_port, mqtts_port, http_port, https_port)
        sockets = _Sockets(bind, *(stack.enter_context(listen((bind, port))) for port in ports))
        provide(directory := certificates or Path(scratch), endpoint_host(bind))
        simulator = RunningSimulator(sockets, directory, settings, policy, limits or Limits())
        try:
            await simulator.start()
            yield simulator
        finally:
            await simulator.stop()
