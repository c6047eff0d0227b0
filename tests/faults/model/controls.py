"""Known-bad cores, each with one rule broken: a model that does not see them sees nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

from iot_jobs_agent.core import backoff, continuing, decide, progress, queues, requests, running, settling, slots, state
from iot_jobs_agent.core.effects import Save, StartAttempt, StopAttempt
from iot_jobs_agent.core.events import AttemptEnded, JournalOpened
from iot_jobs_agent.core.job import AttemptResult, Ending, ExecutionStatus, Outcome
from iot_jobs_agent.core.state import Running

Change = Callable[[], Any]


def _without_saves_of_running() -> Any:
    real = decide._journal_effects

    def journal_effects(*args: Any) -> Any:
        return [e for e in real(*args) if not (isinstance(e, Save) and isinstance(e.execution.phase, Running))]

    return mock.patch.object(decide, "_journal_effects", journal_effects)


def _starts_after_a_restart() -> Any:
    real = decide.decide

    def decided(state: Any, event: Any, now: float) -> Any:
        after, effects = real(state, event, now)
        if isinstance(event, JournalOpened):
            running_ones = [e for e in event.executions if isinstance(e.phase, Running)]
            effects += tuple(StartAttempt(e.attempt, e.phase.work.current) for e in running_ones if e.attempt)
        return after, effects

    return mock.patch.object(decide, "decide", decided)


def _changes_its_mind() -> Any:
    real = settling.on_report_failed

    def failed(state: Any, execution: Any, phase: Any, event: Any, now: float) -> Any:
        changed = replace(phase, outcome=replace(phase.outcome, status=ExecutionStatus.FAILED))
        return real(state, execution, changed, event, now)

    return mock.patch.object(settling, "on_report_failed", failed)


def _fetches_before_reports() -> Any:
    real = queues.due_fetches

    def fetches(state: Any, now: float) -> Any:
        after, effects = real(replace(state, executions={}), now)
        return replace(after, executions=state.executions), effects

    return mock.patch.object(queues, "due_fetches", fetches)


def _never_again() -> Any:
    return mock.patch.object(backoff, "must_wait", lambda state, execution, _: execution in state.back_offs)


def _forgets_refusals() -> Any:
    real = queues.drop_waiting

    def drop_waiting(state: Any, waiting: Any, fetch_at: float) -> Any:
        return real(backoff.end(state, waiting), waiting, fetch_at)

    return mock.patch.object(queues, "drop_waiting", drop_waiting)


def _does_not_stop() -> Any:
    real = progress.end

    def end(*args: Any, **also: Any) -> Any:
        after, effects = real(*args, **also)
        return after, [e for e in effects if not isinstance(e, StopAttempt)]

    return mock.patch.object(progress, "end", end)


def _reports_what_was_canceled() -> Any:
    def stopped(state: Any, execution: Any, phase: Any, now: float) -> Any:
        return settling.begin_report(state, execution, Outcome(ExecutionStatus.FAILED, "stopped"))

    return mock.patch.object(running, "on_stopped", stopped)


def _starts_the_same_attempt_again() -> Any:
    real = state.Work.next_attempt

    def next_attempt(self: Any, *args: Any) -> Any:
        return replace(real(self, *args), number=self.number)

    return mock.patch.object(state.Work, "next_attempt", next_attempt)


def _gives_a_refused_start_up() -> Any:
    return mock.patch.object(running, "on_never_started", lambda state, *_: (state, []))


def _takes_a_refused_start_for_one() -> Any:
    def never_started(state: Any, execution: Any, phase: Any, event: Any, now: float) -> Any:
        lost = AttemptEnded(event.attempt, AttemptResult(Ending.LOST))
        if isinstance(phase, Running):
            return running.on_ended(state, execution, phase, lost, now)
        return running.on_stopped(state, execution, phase, now)

    return mock.patch.object(running, "on_never_started", never_started)


def _keeps_secrets() -> Any:
    return mock.patch.object(state.Plan, "without_secrets", property(lambda plan: plan))


CONTROLS: Mapping[str, Change] = {
    "a running attempt is not journalled": _without_saves_of_running,
    "an attempt is started again after a restart": _starts_after_a_restart,
    "an answer is believed whose ticket nobody waits for": lambda: mock.patch.object(
        requests, "is_awaited", lambda _, ticket: ticket > 0
    ),
    "the outcome changes after the first report": _changes_its_mind,
    "lists are asked for before reports are answered": _fetches_before_reports,
    "interruptions are not counted": lambda: mock.patch.object(continuing, "INTERRUPTIONS", 99),
    "a reboot while something runs": lambda: mock.patch.object(continuing, "is_quiet", return_value=True),
    "nothing is sent again": _never_again,
    "everything is sent again at once": lambda: mock.patch.object(backoff, "must_wait", return_value=False),
    "a refusal is forgotten with the execution": _forgets_refusals,
    "an execution is known by its id alone": lambda: mock.patch.object(state.Settled, "is_of", return_value=False),
    "slots are not counted": lambda: mock.patch.object(queues, "may_take_on", return_value=True),
    "exclusive handlers run beside others": lambda: mock.patch.object(slots, "_is_exclusive", return_value=False),
    "every end is a success": lambda: mock.patch.object(
        running, "outcome_of", return_value=Outcome(ExecutionStatus.SUCCEEDED)
    ),
    "what is canceled is not stopped": _does_not_stop,
    "what was canceled is reported": _reports_what_was_canceled,
    "another try has the number of the first": _starts_the_same_attempt_again,
    "the journal keeps secrets": _keeps_secrets,
    "a start that systemd refused is given up": _gives_a_refused_start_up,
    "a start that systemd refused counts as an interruption": _takes_a_refused_start_for_one,
    "a start that systemd refused is tried again at once": lambda: mock.patch.object(running, "DEVICE_FAULT_S", 0.0),
}


# Kinds of fault without which a broken rule shows seldom.
WITH: Mapping[str, tuple[str, ...]] = {
    "interruptions are not counted": ("shim", "wild"),
    "a reboot while something runs": ("wild",),
    "everything is sent again at once": ("outage",),
    "a refusal is forgotten with the execution": ("stubborn",),
    "an execution is known by its id alone": ("backup",),
    "what is canceled is not stopped": ("operator", "wild"),
    "what was canceled is reported": ("operator",),
    "an attempt is started again after a restart": ("kill",),
    "a start that systemd refused is given up": ("no unit",),
    "a start that systemd refused counts as an interruption": ("no unit",),
    "a start that systemd refused is tried again at once": ("no unit",),
}


@contextlib.contextmanager
def broken(name: str) -> Iterator[None]:
    """Break the core in this process for a while."""
    with CONTROLS[name]():
        yield
