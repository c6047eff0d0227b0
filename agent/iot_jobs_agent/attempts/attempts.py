"""Starts each attempt at most once, watches it to its end, stops it on demand, and finds it again after a restart.

The attempt's directory is the source of truth. If there is none, the attempt never started. With a `result.json`, it
has ended. While its lock is held, it is alive. Otherwise it is lost. All public methods but `prepare` belong to the
loop's thread and return at once. Slow work (fsync, starting a process, a sweep, removing a tree) is done by one other
thread, in order, so that a sweep never meets a shim that was just started.
"""

import asyncio
import contextlib
import errno
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.attempts import orphans, trash, units
from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.attempts.launch import Launch
from iot_jobs_agent.attempts.launchers import Launcher
from iot_jobs_agent.attempts.ready import Ready
from iot_jobs_agent.attempts.results import Results
from iot_jobs_agent.attempts.units import Units
from iot_jobs_agent.attempts.watch import DeviceFaultError, Watch, attempt_named
from iot_jobs_agent.core.events import AttemptEnded, AttemptEvent, AttemptNeverStarted, AttemptStarted
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, ExecutionId, Step
from iot_jobs_agent.shim import files
from iot_jobs_agent.shim.lean import PR_SET_CHILD_SUBREAPER, prctl

__all__ = ["Attempts", "Facts"]

PLAIN_NAME = re.compile(r"[a-zA-Z0-9_-]*\.[a-zA-Z0-9_-]+\.[0-9]+")
LOOK_AGAIN_S = 0.02
LOOKS = 500
UNDO_AGAIN_S = 5.0
HUNG_S = 60.0  # after time-out and grace, a shim sweeps for 10 s and syncs; one that takes this long has hung

LOG = structlog.get_logger(__name__)

T = TypeVar("T")


class Attempts:
    """The attempts of one agent, below `state_directory`. `post` is called with events, on the loop's thread."""

    def __init__(
        self,
        state_directory: Path,
        launcher: Launcher,
        post: Callable[[AttemptEvent], None],
        on_wake: Callable[[], None] = lambda: None,
        own_units: Units | None = None,
    ) -> None:
        """`on_wake` is called on the loop's thread when a shim or a command writes to the wake-up FIFO.

        With `own_units`, each handler runs in a systemd unit of its own.
        """
        self._state = state_directory.resolve()
        self._attempts = self._state / "attempts"
        self._results = Results(self._state / "results")
        self._launching = Launch(self._state, launcher, own_units)
        self._jobs, self._trash = self._launching.jobs, self._launching.trash
        self._post = post
        self._on_wake = on_wake
        self._watches: dict[AttemptId, Watch] = {}
        self._shims: set[int] = set()
        self._wake: int | None = None
        self._leaving: Counter[str] = Counter()  # executions whose attempts are being put away, by directory name
        self._one_ended = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="attempts")
        self._ready = Ready(launcher, self._thread)

    def prepare(self) -> None:
        """Create the directories and the wake-up FIFO, durably. Blocks; may run on any thread. Raises OSError."""
        self._launching.prepare()
        wake = self._state / files.WAKE
        trash.throw_away(wake, self._trash)  # the shims of an earlier agent open it by name each time
        os.mkfifo(wake, 0o600)

    def open(self) -> None:
        """Begin to listen and to adopt orphans. Call it in the running loop, after `prepare`. Raises OSError."""
        self._wake = os.open(self._state / files.WAKE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._wake, self._on_woken)
        self._thread.submit(trash.empty, self._trash)

    def close(self) -> None:
        """Stop watching. Handlers keep running, and another agent finds them with `reattach`. Idempotent."""
        for watch in self._watches.values():
            self._release(watch)
        self._watches.clear()
        if self._wake is not None:
            self._loop.remove_reader(self._wake)
            os.close(self._wake)
            self._wake = None
            self._ready.dismiss()
        self._thread.shutdown(wait=False)

    def get_ready(self) -> None:
        """Have a shim started before the next attempt, since one may follow soon."""
        self._ready.wish()

    def start(self, attempt: AttemptId, step: Step, facts: Facts) -> None:
        """Start an attempt, at most once: if its directory exists, find it again instead, as `reattach` does.

        Posts AttemptStarted, AttemptProgressed whenever the handler reports something, and AttemptEnded; only the last
        one if the attempt can never be started; only AttemptNeverStarted if the device cannot start any now.
        """
        directory = self._attempts / attempt.directory_name
        if not PLAIN_NAME.fullmatch(attempt.execution.directory_name):
            return self._cannot_start(attempt, "its job id is not one that AWS IoT allows")
        # What is being put away is of an earlier execution with this id. Otherwise, what is there has run already.
        is_another = self._leaving[attempt.execution.directory_name] > 0
        if attempt in self._watches or (not is_another and self._find(attempt)):
            return None
        limits_s = max(step.timeout_s, step.max_timeout_s), step.grace_s
        watch = self._watches[attempt] = Watch(attempt, directory, limits_s)
        self._in_thread(partial(self._launch, watch, step, facts), partial(self._on_launched, watch))
        return None

    def stop(self, attempt: AttemptId) -> None:
        """Ask the attempt's shim to end it: SIGTERM, grace, SIGKILL. Idempotent; does nothing if it has ended."""
        watch = self._watches.get(attempt)
        if watch is None:
            return
        watch.stops = True
        if watch.pidfd is None:  # not started yet; `_follow` asks as soon as it is
            return
        self._limit(watch, watch.grace_s)
        with contextlib.suppress(OSError):  # the FIFO is full of requests, or gone with the attempt
            if watch.control is None:  # kept open, so that the byte stays in the FIFO until the shim reads it
                watch.control = os.open(watch.directory / files.CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(watch.control, b"s")

    def reattach(self, attempts: Iterable[AttemptId]) -> set[AttemptId]:
        """Find the attempts of an earlier agent again; return those that were never started.

        For the others, posts what `start` would post: AttemptStarted if the attempt is alive, one AttemptProgressed
        with everything that the handler has said so far, and AttemptEnded at the end.
        """
        return {attempt for attempt in attempts if not self._find(attempt)}

    async def abandon_others(self, known: Collection[ExecutionId]) -> list[AttemptId]:
        """Stop and forget every attempt whose execution is not in `known`; return those attempts once all have ended.

        Nobody will report what they did: the journal that knew them is lost, or they were settled already. Posts
        AttemptEnded for each. Also removes every JOB_DIR that belongs to none of `known`.
        """
        found = [attempt for path in self._attempts.iterdir() if (attempt := attempt_named(path.name)) is not None]
        others = [attempt for attempt in found if attempt.execution not in known and self._find(attempt)]
        for attempt in others:
            self.stop(attempt)
        while any(attempt in self._watches for attempt in others):
            self._one_ended.clear()
            await self._one_ended.wait()
        for execution in dict.fromkeys(attempt.execution for attempt in others):
            self.forget(execution)
        names = {execution.directory_name for execution in known}
        for path in self._jobs.iterdir():
            if path.name not in names:
                self._in_thread(partial(self._launching.forget, path.name), lambda _: None)
                self._drop(path)
        return others

    def forget(self, execution: ExecutionId) -> None:
        """Remove what the execution left, except results and output (see `results`). Idempotent; call it once over."""
        name = execution.directory_name
        if not PLAIN_NAME.fullmatch(name):  # nothing was ever created for it, and the path might lead elsewhere
            return
        self._drop(self._jobs / name)
        self._leaving[name] += 1
        self._in_thread(partial(self._put_away, name), partial(self._on_put_away, name))

    def _on_put_away(self, name: str, future: "asyncio.Future[None]") -> None:
        self._leaving -= Counter([name])  # unlike `subtract`, this leaves no zeros behind
        if (error := future.exception()) is not None:
            LOG.warning("cannot be put away", execution=name, why=str(error))

    def _put_away(self, name: str) -> None:
        """Keep the results and output of an execution's attempts, and delete the rest. Runs in the thread.

        What names the execution goes last, so that an agent that is cut short here does all of it again.
        """
        self._launching.forget(name)
        for path in self._results.keep(name, self._attempts.glob(f"{name}.*.*")):
            self._drop(path)
        trash.empty(self._trash)

    def _drop(self, path: Path) -> None:
        """Throw the tree at `path` away, or log why that failed."""
        try:
            trash.throw_away(path, self._trash)
        except OSError as error:
            LOG.warning("cannot be removed", path=str(path), why=error.strerror)

    def _find(self, attempt: AttemptId) -> bool:
        directory = self._attempts / attempt.directory_name
        if not directory.is_dir():
            return False
        watch = self._watches[attempt] = Watch(attempt, directory, attempt_directory.read_limits(directory))
        self._inspect(watch)
        return True

    def _inspect(self, watch: Watch) -> None:
        """Find out what became of a shim that we did not start."""
        if self._watches.get(watch.attempt) is not watch:
            return None
        lock = attempt_directory.lock(watch.directory)
        if lock is not None:
            return self._finish(watch, lock)
        pid = attempt_directory.read_shim_pid(watch.directory)
        pidfd = attempt_directory.open_shim(watch.directory, pid)
        if pidfd is None:  # the shim has just begun, or has just ended
            return self._look_again(watch)
        lock = attempt_directory.lock(watch.directory)
        if lock is not None:  # the shim ended before we opened its pid, which may belong to another process now
            os.close(pidfd)
            return self._finish(watch, lock)
        return self._follow(watch, pid, pidfd)

    def _look_again(self, watch: Watch) -> None:
        """Look again soon. Give up on a shim that nobody sees, although its lock is held: its handler may hold it."""
        watch.looks += 1
        if watch.looks < LOOKS:
            self._loop.call_later(LOOK_AGAIN_S, self._inspect, watch)
            return
        name = watch.attempt.directory_name
        LOG.error("an attempt's lock is held, but not by its shim: taken for lost", attempt=name)
        self._finish(watch, None)

    def _launch(self, watch: Watch, step: Step, facts: Facts) -> int:
        """Start the attempt as `Launch.start` does, and remember its shim. Runs in the thread."""
        pid = self._launching.start(watch, step, facts)
        self._shims.add(pid)
        return pid

    def _on_launched(self, watch: Watch, future: "asyncio.Future[int]") -> None:
        error = future.exception()
        if self._watches.get(watch.attempt) is not watch:  # closed meanwhile
            return None
        if isinstance(error, DeviceFaultError):
            del self._watches[watch.attempt]
            return self._post(AttemptNeverStarted(watch.attempt, str(error)))
        if isinstance(error, OSError):
            del self._watches[watch.attempt]
            attempt_directory.discard(watch.directory)
            return self._cannot_start(watch.attempt, error.strerror or str(error))
        self._thread.submit(trash.empty, self._trash)
        return self._follow_child(watch, future.result())

    def _follow_child(self, watch: Watch, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:  # no descriptor is free; it cannot vanish, because we have not reaped it
            self._loop.call_later(LOOK_AGAIN_S, self._follow_child, watch, pid)
        else:
            self._follow(watch, pid, pidfd)

    def _follow(self, watch: Watch, pid: int, pidfd: int) -> None:
        watch.pid, watch.pidfd = pid, pidfd
        self._loop.add_reader(pidfd, self._on_shim_exited, watch)
        self._limit(watch, watch.longest_s + watch.grace_s)
        self._post(AttemptStarted(watch.attempt))
        self._read(watch)
        if watch.stops:
            self.stop(watch.attempt)

    def _limit(self, watch: Watch, within_s: float) -> None:
        """Assume in `within_s` + HUNG_S seconds that the shim has hung, unless an earlier limit is already set."""
        limit = self._loop.call_later(within_s + HUNG_S, self._lose_patience, watch)
        if watch.limit is not None:
            limit, later = sorted((watch.limit, limit))
            later.cancel()
        watch.limit = limit

    def _lose_patience(self, watch: Watch) -> None:
        """Kill a shim that has hung, perhaps stopped by its handler. A sweep follows, as for any lost attempt."""
        LOG.error("shim hangs, killed", attempt=watch.attempt.directory_name)
        if watch.pidfd is not None:
            signal.pidfd_send_signal(watch.pidfd, signal.SIGKILL)

    def _on_woken(self) -> None:
        """Read the progress of every attempt, no matter who woke us."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake or 0, 65536)
        self._on_wake()
        for watch in self._watches.values():
            self._read(watch)

    def _read(self, watch: Watch) -> None:
        event, watch.position = attempt_directory.read_progress(watch.directory, watch.attempt, watch.position)
        if event is not None:
            self._post(event)

    def _on_shim_exited(self, watch: Watch) -> None:
        self._release(watch)
        with contextlib.suppress(ChildProcessError):  # a shim that an earlier agent started is not our child
            _, watch.status = os.waitpid(watch.pid, 0)
        self._shims.discard(watch.pid)
        self._lock_and_finish(watch)

    def _lock_and_finish(self, watch: Watch) -> None:
        try:
            lock = attempt_directory.lock(watch.directory)
        except OSError:  # no descriptor is free
            self._loop.call_later(LOOK_AGAIN_S, self._lock_and_finish, watch)
        else:
            self._finish(watch, lock)

    def _finish(self, watch: Watch, lock: int | None) -> None:
        """Post the end of an attempt that no shim supervises any more. `lock` keeps a late shim from starting it.

        A result is believed at once only if our own child left it and exited with 0: its handler could write one too.
        """
        self._read(watch)
        result = attempt_directory.read_result(watch.directory) if not watch.status else None
        if result is not None and watch.status == 0:
            self._end(watch, lock, result)
        else:
            self._in_thread(partial(self._sweep, watch, result), partial(self._on_swept, watch, lock))

    def _sweep(self, watch: Watch, result: AttemptResult | None) -> AttemptResult | str:
        """Kill every process that is left of the attempt. Runs in the thread. A shim that left a result leaves none.

        Return why the attempt never started, if it did not: then it is undone. Raises OSError, DeviceFaultError.
        """
        if watch.status == 0 and (why := self._launching.take_back(watch)):
            return why
        if watch.status == 0 and watch.looks < LOOKS:  # there is a result; perhaps no descriptor is free to read it
            watch.looks += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        token, unit = attempt_directory.read_token(watch.directory), attempt_directory.read_unit(watch.directory)
        # A shim writes what it has found once its handler's unit is over, or says that something of it is alive.
        is_over = result is not None and not result.leftovers_alive and self._launching.has_units
        if unit and not is_over and not units.end(unit):
            return attempt_directory.lost_result(watch.directory, f"interrupted, and {unit} cannot be ended", 0, 1)
        if result is None and (why := self._launching.take_back(watch)):
            return why
        if result is not None:  # what other attempts have left must not contradict it
            orphans.sweep("", self._is_shim, watch.since)
        leftovers_killed, leftovers_alive = orphans.sweep(token, self._is_shim, watch.since)
        if result is not None and not (leftovers_killed or leftovers_alive):
            return result
        reason = "interrupted: its shim ended without a result"
        return attempt_directory.lost_result(watch.directory, reason, leftovers_killed, leftovers_alive)

    def _is_shim(self, pid: int) -> bool:
        return pid in self._shims or self._ready.has(pid)

    def _on_swept(self, watch: Watch, lock: int | None, future: "asyncio.Future[AttemptResult | str]") -> None:
        error = future.exception()
        if isinstance(error, OSError | DeviceFaultError):  # /proc cannot be read now, or nothing can be undone
            again_s = LOOK_AGAIN_S if isinstance(error, OSError) else UNDO_AGAIN_S
            self._loop.call_later(again_s, self._finish, watch, lock)
            return
        self._end(watch, lock, future.result())

    def _end(self, watch: Watch, lock: int | None, result: AttemptResult | str) -> None:
        """Post the end of an attempt, or why it never started."""
        attempt_directory.discard(watch.directory)
        traceback = attempt_directory.take_traceback(self._jobs / watch.attempt.execution.directory_name)
        if traceback:
            LOG.error("the handler raised", attempt=watch.attempt.directory_name, traceback=traceback)
        if lock is not None:
            os.close(lock)
        if self._watches.get(watch.attempt) is watch:
            del self._watches[watch.attempt]
            self._one_ended.set()
            if isinstance(result, str):
                self._post(AttemptNeverStarted(watch.attempt, result))
            else:
                self._post(AttemptEnded(watch.attempt, result))

    def _cannot_start(self, attempt: AttemptId, why: str) -> None:
        reason = f"the attempt could not be prepared: {why}"
        self._post(AttemptEnded(attempt, AttemptResult(Ending.CANNOT_START, reason=reason)))

    def _release(self, watch: Watch) -> None:
        if watch.limit is not None:
            watch.limit.cancel()
            watch.limit = None
        if watch.pidfd is not None:
            self._loop.remove_reader(watch.pidfd)
            os.close(watch.pidfd)
            watch.pidfd = None
        if watch.control is not None:
            os.close(watch.control)
            watch.control = None

    def _in_thread(self, job: Callable[[], T], then: Callable[["asyncio.Future[T]"], None]) -> None:
        self._loop.run_in_executor(self._thread, job).add_done_callback(then)
