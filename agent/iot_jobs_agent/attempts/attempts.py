"""Attempts: each is started at most once, watched to its end, stopped on demand, and found again after a restart.

The directory is the truth. None: never started. One with `result.json`: over. One whose lock is held: alive. Any other:
lost. All methods but `prepare` belong to the loop's thread and return at once; what may take long (fsync, starting a
process, a sweep, removing a tree) is done by one thread, in order, so that a sweep never meets a shim that was just
started.
"""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from iot_jobs_agent.attempts import directory as attempt_directory
from iot_jobs_agent.attempts import orphans
from iot_jobs_agent.attempts.directory import Facts, Position
from iot_jobs_agent.attempts.launchers import Launcher
from iot_jobs_agent.attempts.results import Results
from iot_jobs_agent.core.events import AttemptEnded, AttemptEvent, AttemptStarted
from iot_jobs_agent.core.job import AttemptId, AttemptResult, Ending, ExecutionId, StartReason, Step
from iot_jobs_agent.shim import files
from iot_jobs_agent.shim.processes import PR_SET_CHILD_SUBREAPER, prctl

__all__ = ["Attempts", "Facts"]

PLAIN_NAME = re.compile(r"[a-zA-Z0-9_-]*\.[a-zA-Z0-9_-]+\.[0-9]+")
NUMBERS = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
LOOK_AGAIN_S = 0.02
HUNG_S = 60.0  # after the end of its time, grace included, a shim sweeps for 10 s and syncs; then it is no use any more

LOG = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Watch:
    """An attempt that is not over, as far as we know."""

    attempt: AttemptId
    directory: Path
    position: Position = field(default_factory=Position)
    pid: int = 0
    pidfd: int | None = None
    control: int | None = None
    is_stop_wanted: bool = False
    longest_s: float = 0.0  # that the handler may run
    grace_s: float = 0.0
    limit: asyncio.TimerHandle | None = None  # of our patience with the shim


class Attempts:
    """The attempts of one agent, below `state_directory`; `post` takes events, on the loop's thread."""

    def __init__(
        self,
        state_directory: Path,
        launcher: Launcher,
        post: Callable[[AttemptEvent], None],
        on_wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_wake` is called, on the loop's thread, when somebody wrote to the FIFO: a shim, or a command."""
        self._state = state_directory.resolve()
        self._attempts = self._state / "attempts"
        self._jobs = self._state / "jobs"
        self._trash = self._state / "trash"
        self._results = Results(self._state / "results")
        self._launcher = launcher
        self._post = post
        self._on_wake = on_wake
        self._watches: dict[AttemptId, Watch] = {}
        self._shims: set[int] = set()
        self._wake: int | None = None
        self._one_ended = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="attempts")

    def prepare(self) -> None:
        """Make the directories and the wake-up, durably: blocks, on no particular thread. Raises OSError."""
        for directory in (self._state, self._attempts, self._jobs, self._trash):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        attempt_directory.sync(self._state)  # an attempt's directory is as durable as the names above it
        wake = self._state / files.WAKE
        wake.unlink(missing_ok=True)  # shims of an earlier agent open it by its name, each time
        os.mkfifo(wake, 0o600)

    def open(self) -> None:
        """Listen, and adopt orphans, from now on. In the running loop, after `prepare`. Raises OSError."""
        self._wake = os.open(self._state / files.WAKE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._wake, self._woken)
        self._thread.submit(_empty, self._trash)

    def close(self) -> None:
        """Stop watching. Handlers run on; another agent finds them with `reattach`. Idempotent."""
        for watch in self._watches.values():
            self._let_go(watch)
        self._watches.clear()
        if self._wake is not None:
            self._loop.remove_reader(self._wake)
            os.close(self._wake)
            self._wake = None
        self._thread.shutdown(wait=False)

    def start(self, attempt: AttemptId, step: Step, facts: Facts) -> None:
        """Start an attempt, at most once: one whose directory exists is found again instead, as by `reattach`.

        Posts AttemptStarted, then AttemptProgressed as the handler speaks, then AttemptEnded; the latter alone if it
        cannot be started.
        """
        directory = self._attempts / attempt.directory_name
        if not PLAIN_NAME.fullmatch(_execution_name(attempt.execution)):
            return self._unstartable(attempt, "its job id is not one that AWS IoT allows")
        if attempt in self._watches or self._found(attempt):  # the journal forgot it: what became of it counts
            return None
        watch = self._watches[attempt] = Watch(attempt, directory)
        watch.longest_s, watch.grace_s = max(step.timeout_s, step.max_timeout_s), step.grace_s
        self._in_thread(partial(self._launch, watch, step, facts), partial(self._launched, watch))
        return None

    def stop(self, attempt: AttemptId) -> None:
        """Ask the attempt's shim to end it: SIGTERM, grace, SIGKILL. Idempotent; nothing happens if it is over."""
        watch = self._watches.get(attempt)
        if watch is None:
            return
        watch.is_stop_wanted = True
        if watch.pidfd is None:  # not started yet: asked as soon as it is
            return
        self._limit(watch, watch.grace_s)
        with contextlib.suppress(OSError):  # the FIFO is full of requests, or gone with the attempt
            if watch.control is None:  # kept open: what is written stays there until the shim comes to read it
                watch.control = os.open(watch.directory / files.CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(watch.control, b"s")

    def reattach(self, attempts: Iterable[AttemptId]) -> set[AttemptId]:
        """Find attempts of an earlier agent again; the set of those that were never started.

        Of the others is posted what start would post: AttemptStarted if it is alive, what the handler said so far as
        one AttemptProgressed, AttemptEnded when it is over.
        """
        return {attempt for attempt in attempts if not self._found(attempt)}

    async def abandon_others(self, known: Collection[ExecutionId]) -> list[AttemptId]:
        """Stop every attempt of an execution that is not `known` and forget it; return those attempts.

        Returns once nothing of them is alive. What they did will be told by nobody: the journal that knew of them is
        lost, or they were settled already. Posts AttemptEnded for each. A JOB_DIR of nobody goes too.
        """
        found = [attempt for path in self._attempts.iterdir() if (attempt := _attempt_named(path.name)) is not None]
        others = [attempt for attempt in found if attempt.execution not in known and self._found(attempt)]
        for attempt in others:
            self.stop(attempt)
        while any(attempt in self._watches for attempt in others):
            self._one_ended.clear()
            await self._one_ended.wait()
        for execution in dict.fromkeys(attempt.execution for attempt in others):
            self.forget(execution)
        names = {_execution_name(execution) for execution in known}
        for path in self._jobs.iterdir():
            if path.name not in names:
                self._drop(path)
        return others

    def forget(self, execution: ExecutionId) -> None:
        """Remove what the execution left, but results and output (`attempts.results`). Idempotent; nothing may run."""
        name = _execution_name(execution)
        if not PLAIN_NAME.fullmatch(name):  # nothing was ever made for it, and it might lead elsewhere
            return
        self._drop(self._jobs / name)
        self._thread.submit(self._put_away, name)

    def _put_away(self, name: str) -> None:
        """In the thread: keep what may be kept of an execution's attempts, and see to the disk."""
        for path in self._results.keep(name, self._attempts.glob(f"{name}.*.*")):
            self._drop(path)
        _empty(self._trash)

    def _drop(self, path: Path) -> None:
        """Throw it away, or say why it stays."""
        try:
            _throw(path, self._trash)
        except OSError as error:
            LOG.warning("cannot be removed", path=str(path), why=error.strerror)

    def _found(self, attempt: AttemptId) -> bool:
        directory = self._attempts / attempt.directory_name
        if not directory.is_dir():
            return False
        watch = self._watches[attempt] = Watch(attempt, directory)
        watch.longest_s, watch.grace_s = attempt_directory.read_limits(directory)
        self._look(watch)
        return True

    def _look(self, watch: Watch) -> None:
        """Decide what became of a shim that we did not start."""
        if self._watches.get(watch.attempt) is not watch:
            return None
        lock = attempt_directory.claim(watch.directory)
        if lock is not None:
            return self._over(watch, lock)
        pid = attempt_directory.read_shim_pid(watch.directory)
        try:
            pidfd = os.pidfd_open(pid)
        except (OSError, ValueError):  # it has just begun, or has just ended
            self._loop.call_later(LOOK_AGAIN_S, self._look, watch)
            return None
        lock = attempt_directory.claim(watch.directory)
        if lock is not None:  # it ended before the descriptor was ours, which may be of another process
            os.close(pidfd)
            return self._over(watch, lock)
        return self._follow(watch, pid, pidfd)

    def _launch(self, watch: Watch, step: Step, facts: Facts) -> int:
        """In the thread: make everything ready and durable, then start the shim."""
        job_directory = self._jobs / _execution_name(watch.attempt.execution)
        if facts.phase == "run" and facts.reason not in {StartReason.FIRST, StartReason.RETRY}:
            _throw(job_directory, self._trash)  # a rerun finds nothing of what was cut short
            self._thread.submit(_empty, self._trash)
        job_directory.mkdir(mode=0o700, exist_ok=True)
        if facts.reason == StartReason.FIRST:  # a retry is the same work, tried again
            attempt_directory.forget_checkpoint(job_directory)
        watch.directory.mkdir(mode=0o700)  # not earlier: from here on the attempt can be cut short, and then resumed
        attempt_directory.fill(watch.directory, job_directory, watch.attempt, step, facts)
        attempt_directory.sync(self._jobs)
        attempt_directory.sync(self._attempts)
        pid = self._launcher(watch.directory)
        self._shims.add(pid)
        return pid

    def _launched(self, watch: Watch, future: "asyncio.Future[int]") -> None:
        error = future.exception()
        if self._watches.get(watch.attempt) is not watch:  # closed meanwhile
            return None
        if isinstance(error, OSError):
            del self._watches[watch.attempt]
            attempt_directory.discard(watch.directory)
            return self._unstartable(watch.attempt, error.strerror or str(error))
        pid = future.result()
        return self._follow(watch, pid, os.pidfd_open(pid))

    def _follow(self, watch: Watch, pid: int, pidfd: int) -> None:
        watch.pid, watch.pidfd = pid, pidfd
        self._loop.add_reader(pidfd, self._exited, watch)
        self._limit(watch, watch.longest_s + watch.grace_s)
        self._post(AttemptStarted(watch.attempt))
        self._read(watch)
        if watch.is_stop_wanted:
            self.stop(watch.attempt)

    def _limit(self, watch: Watch, within_s: float) -> None:
        """Set a limit to our patience, or an earlier one."""
        limit = self._loop.call_later(within_s + HUNG_S, self._lose_patience, watch)
        if watch.limit is not None:
            limit, later = sorted((watch.limit, limit))
            later.cancel()
        watch.limit = limit

    def _lose_patience(self, watch: Watch) -> None:
        """Kill a shim that hangs, as a SIGSTOP by its handler makes it: what is left is swept like any lost attempt."""
        LOG.error("supervisor hangs, killed", attempt=watch.attempt.directory_name)
        if watch.pidfd is not None:
            signal.pidfd_send_signal(watch.pidfd, signal.SIGKILL)

    def _woken(self) -> None:
        """Read what the handlers said; who woke us does not matter."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake or 0, 65536)
        self._on_wake()
        for watch in self._watches.values():
            self._read(watch)

    def _read(self, watch: Watch) -> None:
        event, watch.position = attempt_directory.read_progress(watch.directory, watch.attempt, watch.position)
        if event is not None:
            self._post(event)

    def _exited(self, watch: Watch) -> None:
        """Learn that the shim is gone."""
        self._let_go(watch)
        with contextlib.suppress(ChildProcessError):  # one that an earlier agent started is not our child
            os.waitpid(watch.pid, 0)
        self._shims.discard(watch.pid)
        self._over(watch, attempt_directory.claim(watch.directory))

    def _over(self, watch: Watch, lock: int | None) -> None:
        """Tell how an attempt ended, which no shim supervises any more; `lock` keeps a late one from starting it."""
        self._read(watch)
        result = attempt_directory.read_result(watch.directory)
        if result is None:
            self._in_thread(partial(self._clear, watch), partial(self._ended, watch, lock))
        else:
            self._end(watch, lock, result)

    def _clear(self, watch: Watch) -> AttemptResult:
        """In the thread: let nothing of a lost attempt live on."""
        token = attempt_directory.read_token(watch.directory)
        swept, unswept = orphans.sweep(token, self._shims.__contains__)
        reason = "interrupted: its supervisor ended without a result"
        return attempt_directory.lost(watch.directory, reason, swept, unswept)

    def _ended(self, watch: Watch, lock: int | None, future: "asyncio.Future[AttemptResult]") -> None:
        self._end(watch, lock, future.result())

    def _end(self, watch: Watch, lock: int | None, result: AttemptResult) -> None:
        attempt_directory.discard(watch.directory)
        traceback = attempt_directory.take_traceback(self._jobs / _execution_name(watch.attempt.execution))
        if traceback:
            LOG.error("handler_raised", attempt=watch.attempt.directory_name, traceback=traceback)
        if lock is not None:
            os.close(lock)
        if self._watches.get(watch.attempt) is watch:
            del self._watches[watch.attempt]
            self._one_ended.set()
            self._post(AttemptEnded(watch.attempt, result))

    def _unstartable(self, attempt: AttemptId, why: str) -> None:
        reason = f"the attempt could not be prepared: {why}"
        self._post(AttemptEnded(attempt, AttemptResult(Ending.UNSTARTABLE, reason=reason)))

    def _let_go(self, watch: Watch) -> None:
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


def _execution_name(execution: ExecutionId) -> str:
    return f"{execution.namespace}.{execution.job_id}.{execution.execution_number}"


def _attempt_named(name: str) -> AttemptId | None:
    """Return the attempt whose `directory_name` that is."""
    match name.split("."):
        case [namespace, job_id, execution_number, step, number] if NUMBERS.fullmatch(
            f"{execution_number}.{step}.{number}"
        ):
            return AttemptId(ExecutionId(namespace, job_id, int(execution_number)), int(step), int(number))
        case _:
            return None


def _throw(path: Path, trash: Path) -> None:
    """Make a tree vanish at once; its space comes back when the trash is emptied. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        try:
            path.rename(trash / secrets.token_hex(8))
        except PermissionError:  # to another directory only what its owner may write can be moved
            _open_up(path)
            path.rename(trash / secrets.token_hex(8))


def _empty(trash: Path) -> None:
    """Remove what was thrown away, also what a handler made unreadable. What stays is tried again next time."""
    for path in trash.iterdir():
        _open_up(path)
        for directory, below, _ in os.walk(path):
            for name in below:  # before they are looked into
                _open_up(Path(directory, name))
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # no tree
            path.unlink(missing_ok=True)


def _open_up(directory: Path) -> None:
    """Let its owner read and change a directory, and follow no link that a handler put in its place."""
    with contextlib.suppress(OSError):
        if not directory.is_symlink():
            directory.chmod(0o700)
