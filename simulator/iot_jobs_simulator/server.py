"""Everything together: `async with running_simulator() as simulator`, for the command and for tests."""

import asyncio
import socket
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

from iot_jobs_simulator import certificates
from iot_jobs_simulator.faults.faults import Faults
from iot_jobs_simulator.faults.injection import Trouble
from iot_jobs_simulator.http.controls import Controls
from iot_jobs_simulator.http.rest import RestFront
from iot_jobs_simulator.http.s3 import S3Front
from iot_jobs_simulator.jobs.execution import ExecutionStatus
from iot_jobs_simulator.jobs.notifications import Publication
from iot_jobs_simulator.jobs.store import JobStore, Settings
from iot_jobs_simulator.jobs.views import Json
from iot_jobs_simulator.mqtt.broker import MqttFront, Send
from iot_jobs_simulator.mqtt.gate import Rules
from iot_jobs_simulator.mqtt.limits import Limits
from iot_jobs_simulator.objects import Objects
from iot_jobs_simulator.placeholders import Presigner, read_source
from iot_jobs_simulator.policy import Policy, PolicyName
from iot_jobs_simulator.refusals import Refused
from iot_jobs_simulator.service import Service

Received: TypeAlias = deque[tuple[str, bytes]]


class RunningSimulator:
    """A simulator that runs in this event loop. `certificates` holds ca.pem, client.pem, client.key.

    `faults` are trouble on demand: `sim.faults.add(Lose(what="reply", operation="UpdateJobExecution", times=1))`.
    `objects` are what presigned URLs lead to: `sim.objects.put("bucket", "key", b"content")`.
    `received` holds the last messages that clients published, topic and payload, the oldest first.
    """

    def __init__(
        self,
        service: Service,
        mqtt: MqttFront,
        *,
        faults: Faults,
        objects: Objects,
        http_url: str,
        https_port: int,
        certificates: Path,
        received: Received,
    ) -> None:
        self._service = service
        self._mqtt = mqtt
        self.faults = faults
        self.objects = objects
        self.mqtt_port = mqtt.mqtt_port
        self.mqtts_port = mqtt.mqtts_port
        self.http_url = http_url
        self.https_port = https_port
        self.certificates = certificates
        self.received = received

    @property
    def store(self) -> JobStore:
        """The service's own record, to look at."""
        return self._service.store

    def operate(self, operation: str, **members: Any) -> Json:
        """Perform any operation of the control plane, spelled as for boto3 but without HTTP; raises Refused."""
        return self._service.answer_operator(operation, members)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish any bytes as the broker: forged, malformed, late or repeated notifications and replies."""
        self._mqtt.publish(topic, payload)

    def advance_clock(self, seconds: float) -> float:
        """Put the service's clock forward: time-outs and whatever else is due by then happen at once. The new time."""
        return self._service.advance_clock(seconds)

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
            await self._service.wait_until(lambda: self.status(thing_name, job_id) is wanted, within_s)
        except TimeoutError:
            found = self.status(thing_name, job_id)
            raise TimeoutError(f"{job_id} on {thing_name} is {found}, not {wanted}, after {within_s} s") from None

    def has_subscription(self, topic_filter: str) -> bool:
        """Whether a client that is connected has subscribed to exactly this filter."""
        return self._mqtt.has_subscription(topic_filter)

    async def wait_for_subscription(self, topic_filter: str, *, within_s: float = 5) -> None:
        """Return when a client that is connected has subscribed to exactly this filter; TimeoutError if none does."""
        await self._service.wait_until(lambda: self.has_subscription(topic_filter), within_s)

    async def wait_until(self, is_so: Callable[[], bool], *, within_s: float = 5) -> None:
        """Return when a fact holds; looks again after every request, roll-out, subscription and disconnect."""
        await self._service.wait_until(is_so, within_s)

    def status(self, thing_name: str, job_id: str) -> ExecutionStatus | None:
        """Status of the latest execution of the job on the thing, None if there is none."""
        try:
            return self.store.find_execution(thing_name, job_id).status
        except Refused:
            return None


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
    `switches` are the other fields of `Settings`.
    """
    settings = Settings(
        rollout_delay_s=rollout_delay_s, namespace_topic_of_api_text=namespace_topic_of_api_text, **switches
    )
    with tempfile.TemporaryDirectory(prefix="iot-jobs-simulator-") as scratch:
        directory = certificates or Path(scratch)
        ports = (mqtt_port, mqtts_port, http_port, https_port)
        async with _serving(
            bind, ports, directory=directory, settings=settings, policy_name=policy, limits=limits or Limits()
        ) as simulator:
            yield simulator


@asynccontextmanager
async def _serving(
    bind: str,
    ports: tuple[int, int, int, int],
    *,
    directory: Path,
    settings: Settings,
    policy_name: PolicyName,
    limits: Limits,
) -> AsyncIterator[RunningSimulator]:
    mqtt_port, mqtts_port, http_port, https_port = ports
    certificates.provide(directory)
    tls = certificates.server_context(directory)
    endpoints: dict[str, str] = {}

    def publish(publication: Publication) -> None:
        trouble.publish(publication)

    def send(topic: str, payload: bytes) -> None:
        mqtt.publish(topic, payload)

    received: Received = deque(maxlen=10_000)

    def answer(client_id: str, topic: str, payload: bytes, send: Send) -> bool:
        received.append((topic, payload))
        return trouble.answer_mqtt(service, client_id, topic, payload, send)

    def created_thing(thing_name: str) -> None:
        if policy_name is PolicyName.STRICT:
            certificates.provide_for_thing(directory, thing_name)

    service = Service(settings, endpoints, publish, created_thing)
    base_url = ""
    faults, objects = Faults(), Objects()
    trouble = Trouble(faults, send)
    service.rollout_delay_s = trouble.rollout_delay_s
    policy = Policy(policy_name, service.is_thing)
    mqtt = MqttFront(
        bind,
        mqtt_port,
        mqtts_port,
        tls=tls,
        rules=Rules(limits, policy, faults),
        answer=answer,
        changed=service.look_again,
    )
    presigner = Presigner(objects, lambda: base_url, service.now)
    service.store.read_source = lambda url: read_source(objects, url)
    service.store.deliver = lambda document, job, execution: presigner.resolve(
        document, job.request.presigned_url_config, execution
    )
    controls = Controls(faults, mqtt, objects, service)
    rest = RestFront(service, trouble, policy, controls, S3Front(objects, service.now))
    with socket.create_server((bind, http_port)) as plain, socket.create_server((bind, https_port)) as secure:
        await mqtt.start()
        try:
            await rest.start(plain, secure, tls)
            http_port, https_port = plain.getsockname()[1], secure.getsockname()[1]
            base_url = f"http://127.0.0.1:{http_port}"
            endpoints |= {"iot:Data": f"localhost:{mqtt.mqtts_port}", "iot:Data-ATS": f"localhost:{mqtt.mqtts_port}"}
            endpoints |= {"iot:Jobs": f"localhost:{https_port}"}
            yield RunningSimulator(
                service,
                mqtt,
                faults=faults,
                objects=objects,
                http_url=base_url,
                https_port=https_port,
                certificates=directory,
                received=received,
            )
        finally:
            service.stop()
            trouble.stop()
            await asyncio.gather(mqtt.stop(keep_sessions=False), rest.stop())
