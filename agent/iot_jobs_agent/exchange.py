"""Performs the effects that are requests to the service: each is one exchange with it, and results in one event."""

import contextlib
import time
from collections.abc import Callable
from typing import Protocol, assert_never

from iot_jobs_agent import logs
from iot_jobs_agent.aws import messages
from iot_jobs_agent.aws.requests import Requests
from iot_jobs_agent.chance import fraction
from iot_jobs_agent.core.effects import Describe, Fetch, Update
from iot_jobs_agent.core.events import (
    Described,
    DescribeFailed,
    Event,
    FetchFailed,
    Listed,
    UpdateAccepted,
    UpdateFailed,
)
from iot_jobs_agent.core.job import ExecutionId, Plan, Refusal
from iot_jobs_agent.errors import RequestRefused, RequestUnanswered
from iot_jobs_agent.judge import UNREADABLE, Judge

_FAILURES = (RequestRefused, RequestUnanswered, messages.MalformedMessageError)


class Warn(Protocol):
    """Reports a problem that the owner of the device should hear of."""

    def __call__(self, what: str, /, **facts: object) -> None:
        """Log the problem and show it in the status."""


class Exchange:
    """Sends requests with `requests`, judges documents with `judge`, and calls `post` with the events, in the loop."""

    def __init__(self, requests: Requests, judge: Judge, post: Callable[[Event], None], warn: Warn) -> None:
        self._requests = requests
        self._judge = judge
        self._post = post
        self._warn = warn
        self._log = logs.get_logger()

    async def perform(self, effect: Fetch | Describe | Update) -> None:
        """Send the request, wait for the answer, and post it as an event; post one even if there is no answer."""
        match effect:
            case Fetch():
                await self._fetch(effect)
            case Describe():
                await self._describe(effect)
            case Update():
                await self._update(effect)
            case _:
                assert_never(effect)

    async def _fetch(self, effect: Fetch) -> None:
        try:
            pending, is_complete = await self._requests.pending(effect.namespace, is_complete=effect.is_complete)
        except _FAILURES as error:
            facts = {"namespace": effect.namespace, "why": str(error), **self._requests.hint(error)}
            self._warn("cannot get the pending job executions", **facts)
            self._post(FetchFailed(effect.namespace, effect.ticket, _code(error), _jitter()))
            return
        self._post(Listed(effect.namespace, effect.ticket, pending, is_complete, _jitter()))

    async def _describe(self, effect: Describe) -> None:
        verdict: Plan | Refusal = UNREADABLE
        operation = ""
        try:
            try:
                found = await self._describe_twice(effect.execution)
                verdict, operation = await self._judge.verdict(found)
            except messages.MalformedMessageError:
                found = await self._requests.describe(effect.execution, with_document=False)
        except _FAILURES as error:
            self._log.debug("describe failed", execution=str(effect.execution), why=str(error))
            self._post(DescribeFailed(effect.execution, effect.ticket, _code(error), _jitter()))
            return
        self._post(
            Described(
                effect.execution,
                effect.ticket,
                found.status,
                found.version,
                found.claimed_by,
                verdict,
                operation,
                time.time(),
                _jitter(),
                found.queued_at,
            )
        )

    async def _describe_twice(self, execution: ExecutionId) -> messages.ServiceExecution:
        """Ask a second time if the answer is unreadable, so that a stray message does not get a job rejected."""
        with contextlib.suppress(messages.MalformedMessageError):
            return await self._requests.describe(execution)
        return await self._requests.describe(execution)

    async def _update(self, effect: Update) -> None:
        try:
            await self._requests.update(effect)
        except _FAILURES as error:
            current = messages.current_status(error) if isinstance(error, RequestRefused) else None
            self._log.debug("update failed", execution=str(effect.execution), why=str(error))
            self._post(UpdateFailed(effect.execution, effect.ticket, _code(error), current, _jitter()))
            return
        self._post(UpdateAccepted(effect.execution, effect.ticket))


def _jitter() -> float:
    """Return a random number in [0, 1), with which the core spreads its waits."""
    return fraction()


def _code(error: Exception) -> str:
    """Return AWS's error code of a refusal; "" if there was no answer, or a malformed one."""
    return error.code if isinstance(error, RequestRefused) else ""
