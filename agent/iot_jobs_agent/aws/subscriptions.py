"""The subscriptions of a connection: kept for as long as it lasts, and suspended if they get it closed.

AWS IoT Core closes the connection on a SUBSCRIBE that the certificate's policy does not allow. If that happens twice in
a row while the same filter is unanswered, we suspend that filter, so that the rest of the agent can work without it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from iot_jobs_agent.aws import advice
from iot_jobs_agent.aws.mqtt import MqttConnection, SubscriptionRefusedError
from iot_jobs_agent.aws.sdk import SdkError
from iot_jobs_agent.chance import fraction
from iot_jobs_agent.core.backoff import delay_s

LOG_EVERY = 5  # log one in this many failed attempts
CLOSINGS_IN_A_ROW = 2  # after this many, a subscription is suspended
SUSPENDED_S = 30.0  # time until the next try; doubled each time the connection is closed over the filter again
SUSPENDED_LONGEST_S = 3600.0


class Subscriptions:
    """The topic filters that every connection subscribes to. `warn` takes a message and keyword facts."""

    def __init__(self, filters: Sequence[str], warn: Callable[..., Any]) -> None:
        self._filters = tuple(filters)
        self._warn = warn
        self._closings: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._untried: set[str] = set()
        self._all_tried = asyncio.Event()
        self._turn = asyncio.Lock()

    def hold(self, connection: MqttConnection, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start to subscribe to every filter on a new connection; return the tasks, for the caller to cancel."""
        self._untried = set(self._filters)
        self._all_tried = asyncio.Event()
        return [group.create_task(self._hold_one(connection, topic_filter)) for topic_filter in self._filters]

    async def wait_until_tried(self) -> None:
        """Return once every filter has been tried once on the current connection, whatever the result."""
        await self._all_tried.wait()

    def blame(self, connection: MqttConnection) -> None:
        """Count a closed connection against its oldest unanswered filter; the second in a row suspends that filter."""
        suspect = next((key for key in connection.unanswered if key in self._filters), None)
        if suspect is not None:
            closings = self._closings[suspect] = self._closings.get(suspect, 0) + 1
            if closings == CLOSINGS_IN_A_ROW:
                why = "the connection was closed twice in a row before it was answered"
                self._warn("subscription suspended", topic=suspect, why=why, hint=advice.subscription_closes(suspect))

    def has(self, topic: str) -> bool:
        """Return whether `topic` is one of the filters; otherwise it is the topic of a request."""
        return topic in self._filters

    async def _hold_one(self, connection: MqttConnection, topic_filter: str) -> None:
        """Try to subscribe until the broker grants it, with back-off. Try a suspended filter only after a while."""
        closings = self._closings.get(topic_filter, 0) - CLOSINGS_IN_A_ROW
        if closings >= 0:
            self._note_tried(topic_filter)
            await asyncio.sleep(min(SUSPENDED_LONGEST_S, SUSPENDED_S * 2.0 ** min(closings, 20)))
        failures = 0
        while refused := await self._subscribe(connection, topic_filter):
            self._note_tried(topic_filter)
            if connection.lost.is_set():  # that is what is said, once for all filters
                return
            refusals = self._refusals[topic_filter] = self._refusals.get(topic_filter, 0) + 1
            if refusals % LOG_EVERY == 1:  # counted over connections too
                why, hint = refused
                self._warn("subscription refused", topic=topic_filter, attempt=refusals, why=why, hint=hint)
            failures += 1
            await asyncio.sleep(delay_s(failures, fraction()))
        self._closings.pop(topic_filter, None)
        self._refusals.pop(topic_filter, None)
        self._note_tried(topic_filter)

    async def _subscribe(self, connection: MqttConnection, topic_filter: str) -> tuple[str, str] | None:
        """Try to subscribe once; return why it failed and what to do, None if it did not fail.

        After a connection was closed over a filter, it is one filter at a time: a broker that closes the connection on
        one may take answers to others with it, and the wrong one would be blamed.
        """
        async with self._turn if self._closings else contextlib.nullcontext():
            try:
                await connection.subscribe(topic_filter)
            except SubscriptionRefusedError:
                return "the broker refused it", advice.subscription_refused(topic_filter)
            except SdkError as error:
                return str(error), advice.subscription_unanswered(topic_filter)
        return None

    def _note_tried(self, topic_filter: str) -> None:
        self._untried.discard(topic_filter)
        if not self._untried:
            self._all_tried.set()
