"""Plays the second half of an execution: the attempts that follow a retry, a reboot, or an interruption.

Nothing waits for a retry's delay here, and nothing reboots: the next attempt starts at once, with the JOB_PHASE,
JOB_REASON and JOB_DIR that the agent would give it (docs/handlers.md, "Again").
"""

import signal
from collections.abc import Callable, Collection
from dataclasses import replace

from iot_jobs_agent.attempts.attempts import Facts
from iot_jobs_agent.attempts.directory import read_shim_pid
from iot_jobs_agent.core.continuing import REBOOTS
from iot_jobs_agent.core.job import AttemptResult, ExecutionStatus, OnInterrupt, Outcome, StartReason
from iot_jobs_agent.core.outcome import Followup, followup_of, reason_given
from iot_jobs_agent.kit.trial import FIRST, Attempted, Stage
from iot_jobs_agent.shim.processes import descendants, send

BOTH = frozenset(Followup)
LEAST_LEFT_S = 1.0  # what a resumed attempt gets of its deadline, even if nothing is left

OnNext = Callable[[Attempted, Facts], None]


def say_nothing(_next: Attempted, _facts: Facts) -> None:
    """Let an attempt begin without a word."""


async def play_out(
    stage: Stage, attempted: Attempted, follow: Collection[Followup] = BOTH, on_next: OnNext = say_nothing
) -> tuple[Outcome, AttemptResult]:
    """Return how the execution of `attempted` ends, and the result of its last attempt.

    The follow-ups in `follow` are granted as often as the step allows them. Others are not: the outcome then says what
    the agent would do. `on_next` is called when another attempt has started.
    """
    reboots = 0
    while True:
        result = await attempted.ended()
        asked = followup_of(result)
        if asked is Followup.RETRY and asked in follow and attempted.step.retry_limit > 0:
            attempted = _next(stage, attempted, Facts(FIRST.thing_name, "run", StartReason.RETRY), on_next)
        elif asked is Followup.REBOOT and asked in follow and attempted.step.may_reboot:
            reboots += 1
            if reboots > REBOOTS:
                reason = f"asked for more than {REBOOTS} reboots: {reason_given(result)}"
                return Outcome(ExecutionStatus.FAILED, reason, "reboot-limit"), result
            attempted = _next(stage, attempted, Facts(FIRST.thing_name, "resume", StartReason.REBOOT), on_next)
        else:
            return await attempted.outcome(), result


async def play_interruption(stage: Stage, interrupted: Attempted, on_next: OnNext = say_nothing) -> Attempted | Outcome:
    """Return the attempt that follows one that was killed, started as `on_interrupt` says; or the failure, if none.

    Waits until the killed attempt is gone.
    """
    await interrupted.ended()
    match interrupted.step.on_interrupt:
        case OnInterrupt.RERUN:
            return _next(stage, interrupted, Facts(FIRST.thing_name, "run", StartReason.KILLED), on_next)
        case OnInterrupt.RESUME:
            return _next(stage, interrupted, Facts(FIRST.thing_name, "resume", StartReason.KILLED), on_next)
        case OnInterrupt.FAIL:
            reason = "interrupted; on_interrupt of its manifest is fail"
            return Outcome(ExecutionStatus.FAILED, reason, "lost", dict(interrupted.details))


def kill_handler(stage: Stage, attempted: Attempted) -> None:
    """Send SIGKILL to every process of an attempt's handler, as a power cut would end it."""
    shim = read_shim_pid(stage.directory(attempted))
    for each in descendants(shim) if shim else ():
        send(each, signal.SIGKILL)


def _next(stage: Stage, last: Attempted, facts: Facts, on_next: OnNext) -> Attempted:
    step = last.step
    if facts.reason is StartReason.RETRY:
        step = replace(step, retry_limit=step.retry_limit - 1)
    if facts.phase == "resume" and last.result is not None:
        step = replace(step, timeout_s=max(LEAST_LEFT_S, step.timeout_s - last.result.duration_s))
    attempt = last.attempt
    number = attempt.number + 1
    started = stage.start(
        step, execution=attempt.execution.execution_number, number=number, facts=facts, listen=last.listen
    )
    on_next(started, facts)
    return started
