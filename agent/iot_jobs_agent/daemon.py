"""The main loop: take an event, decide, perform the effects. `exchange` performs those that are requests to AWS.

Everything that happens arrives as an event in one inbox, and `core.decide` handles it. Effects go through one queue, in
order. Those that act on the outside world wait until the journal effects before them are on disk, while the loop
continues. Requests run as tasks, and their answers come back as events. `run` has the order of start-up and shutdown.
"""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, assert_never

from iot_jobs_agent import logs, reboot
from iot_jobs_agent.attempts.attempts import Attempts
from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.launchers import Early
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.aws.connection import Connection
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.certificate import expires_at
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.decide import decide, is_idle, may_start_soon, next_deadline, untaken
from iot_jobs_agent.core.effects import (
    JOURNAL,
    Describe,
    Effect,
    Fetch,
    Forget,
    ForgetAttempts,
    Note,
    Reboot,
    Save,
    Settle,
    StartAttempt,
    StopAttempt,
    Update,
)
from iot_jobs_agent.core.events import (
    AttemptNeverStarted,
    Event,
    JournalOpened,
    Paused,
    RebootFailed,
    Tick,
)
from iot_jobs_agent.core.state import Settings, State
from iot_jobs_agent.decisions import decision_facts
from iot_jobs_agent.errors import (
    JournalDamagedError,
    JournalError,
    StateDirectoryError,
)
from iot_jobs_agent.exchange import Exchange
from iot_jobs_agent.judge import Judge
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state.journal import Journal, Recovered
from iot_jobs_agent.state.status import StatusBoard
from iot_jobs_agent.state.volatile import why_volatile
from iot_jobs_agent.systemd import Notifier
from iot_jobs_agent.tally import Tally, left

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

JOURNAL_PROBE_S = 30.0
STATUS_DELAY_S = 0.5


class Daemon:
    """One agent. Create it inside a running loop, then `run` it once."""

    def __init__(self, config: Config, notifier: Notifier) -> None:
        directory = config.agent.state_directory
        self._config = config
        self._notifier = notifier
        self._log: FilteringBoundLogger = logs.get_logger()
        self._directory = directory
        self._inbox: asyncio.Queue[Event] = asyncio.Queue()
        self._batches: asyncio.Queue[tuple[Effect, ...]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._status_timer: asyncio.TimerHandle | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._stop = asyncio.Event()
        self._journal = Journal(directory)
        self._board = StatusBoard(config.aws.thing_name, expires_at(config.aws.certificate), why_volatile(directory))
        self._connection = Connection(
            config.aws, config.namespaces_served, self._inbox.put_nowait, self._log.info, self._warn
        )
        judge = Judge(config, Catalog(config, keeps_checks=True))
        self._exchange = Exchange(self._connection.requests, judge, self._inbox.put_nowait, self._warn)
        units = Units(directory.resolve(), config.handlers.profile, config.profiles)
        own_units = units if config.handlers.launcher == "units" else None
        self._attempts = Attempts(directory, Early(), self._inbox.put_nowait, self._look_for_pause, own_units)
        self._state = State(
            Settings(
                namespaces=config.namespaces_served,
                max_concurrent=config.agent.max_concurrent,
                poll_interval_s=config.agent.poll_interval_s,
                progress_interval_s=config.agent.progress_interval_s,
                only=config.agent.only,
                ignores_unknown=config.agent.unknown == "ignore",
                boot_id=reboot.boot_id(),
            )
        )
        self._tally = Tally()
        self._is_debug = config.agent.log_level == "debug"

    def exit_status_of_once(self) -> int:
        """Return 0 if all executions succeeded, 69 if the service was never reached, else 1. Log what is left."""
        if not self._tally.is_done:
            self._log.warning("not everything is done", why=self._board.line(self._state), left=left(self._state))
        return self._tally.exit_status(self._state)

    async def run(self, *, once: bool = False, limit_s: float | None = None) -> None:
        """Serve until SIGTERM or SIGINT, or with `once` until everything pending is settled, for at most `limit_s`.

        Handlers keep running afterwards.

        Raises:
            JournalError: a write to the journal failed. We have acknowledged nothing that is not in the journal.
        """
        self._loop.set_exception_handler(self._on_surprise)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        tasks = {
            asyncio.create_task(self._open_journal()),
            asyncio.create_task(self._decide_all()),
            asyncio.create_task(self._perform_all()),
            asyncio.create_task(self._connection.run()),
            asyncio.create_task(self._feed_watchdog()),
        }
        ends: set[asyncio.Task[Any]] = {asyncio.create_task(self._stop.wait())}
        if once:
            ends.add(asyncio.create_task(self._until_idle()))
        if limit_s is not None:
            ends.add(asyncio.create_task(asyncio.sleep(limit_s)))
        try:
            while True:
                done, _ = await asyncio.wait(tasks | ends, return_when=asyncio.FIRST_COMPLETED)
                if done & ends:
                    break
                for task in done:
                    task.result()
                tasks -= done
        finally:
            self._notifier.stopping()
            self._log.info("stopping, handlers go on")
            await self._shut_down(tasks | ends)

    async def _until_idle(self) -> None:
        await self._idle.wait()
        await self._batches.join()  # wait until everything decided so far is done and counted

    async def _shut_down(self, tasks: set[asyncio.Task[Any]]) -> None:
        for task in tasks | self._requests:
            task.cancel()
        await self._connection.close()
        self._attempts.close()
        self._journal.thread.shutdown(wait=True)
        self._journal.close()
        self._write_status()

    async def _open_journal(self) -> None:
        """Open the journal as soon as the disk allows. Report READY in any case, because the connection can work."""
        ready = False
        while True:
            try:
                claimant, recovered = await self._loop.run_in_executor(self._journal.thread, self._open_state)
                self._attempts.open()
            except (JournalError, StateDirectoryError, OSError) as error:
                self._board.degraded = f"{error}; nothing is claimed until it can be used"
                self._log.error("degraded: the state directory cannot be used", why=str(error))
                self._board.add_error("degraded", {"why": str(error)})
            else:
                break
            if not ready:
                self._begin(self._tell_ready())
                ready = True
            self._show_status()
            await asyncio.sleep(JOURNAL_PROBE_S)
        self._board.degraded = ""
        if not ready:
            self._begin(self._tell_ready())
        await self._recover(claimant, recovered)

    def _open_state(self) -> tuple[Claimant, Recovered]:
        """Open the journal, on its thread. Set a damaged one aside: its executions will be FAILED, never run again."""
        state_directory.refuse_another_thing(self._directory, self._config.aws.thing_name)
        agent_id = state_directory.agent_id(self._directory)
        self._attempts.prepare()
        recovered = self._open_or_set_aside()
        lost = state_directory.lost_journals(self._directory, recovered.journal_id)
        return Claimant(agent_id, recovered.journal_id, lost), recovered

    def _open_or_set_aside(self) -> Recovered:
        try:
            return self._journal.open()
        except JournalDamagedError as error:
            aside = self._journal.set_aside()
            self._log.error("journal damaged, set aside", why=str(error), file=str(aside))
            return self._journal.open()

    async def _recover(self, claimant: Claimant, recovered: Recovered) -> None:
        """Tell the core what was under way, and find the attempts again. First end those that the journal has lost."""
        known = {execution.id for execution in recovered.executions}
        for other in await self._attempts.abandon_others(known):
            self._log.warning("stopped an attempt that the journal does not know", execution=str(other.execution))
        self._look_for_pause()
        self._inbox.put_nowait(JournalOpened(claimant, recovered.executions, recovered.settled))
        attempts = [a for e in recovered.executions if (a := e.attempt) is not None]
        for never_started in self._attempts.reattach(attempts):
            self._inbox.put_nowait(AttemptNeverStarted(never_started))

    def _look_for_pause(self) -> None:
        is_paused = state_directory.is_paused(self._directory)
        if is_paused != self._state.is_paused:
            self._log.info("paused" if is_paused else "resumed")
            self._inbox.put_nowait(Paused(is_paused))

    async def _decide_all(self) -> None:
        while True:
            event = await self._inbox.get()
            now = time.monotonic()
            before = self._state
            self._state, effects = decide(before, event, now)
            if self._is_debug and (facts := decision_facts(event, before, self._state, effects)):
                self._log.debug("decided", **facts)
            if effects:
                self._batches.put_nowait(effects)
            self._arm_timer(now)
            self._show_status()
            self._tally.was_reached |= self._state.is_connected
            if is_idle(self._state) and self._inbox.empty():
                self._tally.is_done = not untaken(self._state)
                self._idle.set()

    def _arm_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = next_deadline(self._state, now)
        if deadline is not None:
            self._timer = self._loop.call_later(max(0.0, deadline - now), self._inbox.put_nowait, Tick())

    async def _perform_all(self) -> None:
        """Perform batch after batch, in order. If the journal fails, the agent exits, and the next one recovers."""
        while True:
            effects = await self._batches.get()
            journal = [e for e in effects if isinstance(e, JOURNAL)]
            if journal:
                await self._loop.run_in_executor(self._journal.thread, self._journal.write, journal)
            for effect in effects:
                self._perform(effect)
            self._batches.task_done()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Fetch() | Describe() | Update():
                if isinstance(effect, Describe) and may_start_soon(self._state, effect.execution):
                    self._attempts.get_ready()
                self._begin(self._exchange.perform(effect))
            case Reboot():
                self._begin(self._reboot())
            case StartAttempt(attempt, step, reason, is_resumed):
                facts = Facts(self._config.aws.thing_name, "resume" if is_resumed else "run", reason)
                self._attempts.start(attempt, step, facts)
            case StopAttempt(attempt):
                self._attempts.stop(attempt)
            case ForgetAttempts(execution):
                self._attempts.forget(execution)
            case Note():
                self._log_note(effect)
            case Settle():
                self._count(effect)
            case Save() | Forget():
                pass
            case _:
                assert_never(effect)

    async def _reboot(self) -> None:
        if why := await reboot.reboot(self._config.agent.reboot_command):
            self._inbox.put_nowait(RebootFailed(why))

    def _begin(self, request: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(request)
        self._requests.add(task)
        task.add_done_callback(self._on_request_done)

    def _on_request_done(self, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_surprise(self._loop, {"exception": error})

    def _on_surprise(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Exit on a defect of ours, so that somebody notices it and the next start recovers.

        Failures that we expect have become events long before they get here. If the error of a callback were only
        logged, as the loop does by default, an attempt could stay without an end.
        """
        if (error := context.get("exception")) is not None:
            self._log.error("internal error", exc_info=error)
            os._exit(os.EX_SOFTWARE)

    def _log_note(self, note: Note) -> None:
        execution = self._state.executions.get(note.execution)
        facts = {"execution": str(note.execution), "operation": execution.operation if execution else ""}
        if note.why:
            facts["why"] = note.why
        if note.is_problem:
            self._warn(note.what, **facts)
        else:
            self._log.info(note.what, **facts)

    def _warn(self, what: str, /, **facts: Any) -> None:
        self._log.warning(what, **facts)
        self._board.add_error(what, facts)

    def _count(self, settle: Settle) -> None:
        self._tally.count(settle)
        self._log.info(
            "settled",
            execution=str(settle.execution),
            status=settle.outcome.status,
            service_accepted=settle.service_accepted,
        )

    async def _tell_ready(self) -> None:
        await self._notifier.ready(self._board.line(self._state))

    async def _feed_watchdog(self) -> None:
        interval_s = self._notifier.watchdog_interval_s
        while interval_s:
            await self._notifier.watchdog()
            await asyncio.sleep(interval_s)

    def _show_status(self) -> None:
        """Write the status file soon, but not for each event, to spare the flash memory."""
        if self._status_timer is None:
            self._status_timer = self._loop.call_later(STATUS_DELAY_S, self._write_status)

    def _write_status(self) -> None:
        self._status_timer = None
        self._notifier.status(self._board.line(self._state))
        try:
            state_directory.write_status(self._directory, self._board.content(self._state))
        except OSError as error:
            self._log.warning("status file not written", why=str(error))
