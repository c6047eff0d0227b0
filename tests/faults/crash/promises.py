"""What was promised before a power cut, and whether what was found after it is that: each difference is a violation."""

import json
from collections.abc import Iterator

from tests.faults.crash.aftermath import Aftermath, aftermath
from tests.faults.crash.life import text_of
from tests.faults.crash.recovery import Found, digest_of
from tests.faults.crash.service import Service, result_of
from tests.faults.crash.trace import Operation

from iot_jobs_agent.core.claimant import Claimant
from iot_jobs_agent.core.events import AttemptEnded, AttemptEvent, AttemptNeverStarted
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionStatus, OnInterrupt, StartReason
from iot_jobs_agent.core.state import Delayed, Execution, Preparing, Rebooting, Running, Stopping, Work
from iot_jobs_agent.shim.files import NEVER_STARTED

NOTHING = text_of((), ())
REFUSED = f'"{NEVER_STARTED}"'.encode()

_aftermaths: dict[tuple[str, ...], Aftermath] = {}  # thousands of disks hold the same


class Knowledge:
    """What was promised until a moment, by the marks and operations before it."""

    def __init__(self, nothing: str = NOTHING) -> None:
        self.certain = self.begun = nothing  # what the journal holds, and what it holds if a write came through
        self.service = "[]"
        self.agent_id = self.journal_id = ""
        self.told: dict[str, str] = {}
        self.started: set[str] = set()
        self.kept: set[str] = set()
        self.refused: set[str] = set()  # the shim has kept that systemd refused
        self.taken_back: set[str] = set()  # the agent was told so, and has not started it since
        self.checkpoints: set[str] = set()
        self.damaged = ""  # digest of a journal that must be kept
        self.may_set_aside = False

    def take(self, operation: Operation) -> None:
        """Learn from one more operation."""
        if operation.kind == "write" and operation.path.endswith("/events.jsonl"):
            self.checkpoints.add(operation.path.split("/")[-2])
        if operation.kind == "write" and operation.path.endswith("/result.json.new") and REFUSED in operation.data:
            self.refused.add(operation.path.split("/")[-2])
        for what, said in operation.mark.items():
            getattr(self, f"_on_{what}")(said)

    def _on_begun(self, text: str) -> None:
        self.begun = text

    def _on_acknowledged(self, _: bool) -> None:
        self.certain = self.begun
        self.may_set_aside = False

    def _on_service(self, text: str) -> None:
        self.service = text

    def _on_agent_id(self, text: str) -> None:
        self.agent_id = text

    def _on_journal_id(self, text: str) -> None:
        self.journal_id = text

    def _on_told(self, told: dict[str, str]) -> None:
        self.told |= told

    def _on_started(self, attempt: str) -> None:
        self.started.add(attempt)

    def _on_kept(self, attempt: str) -> None:
        self.kept.add(attempt)

    def _on_asked(self, attempt: str) -> None:
        for names in (self.taken_back, self.refused, self.kept):
            names.discard(attempt)

    def _on_taken_back(self, attempt: str) -> None:
        self.taken_back.add(attempt)

    def _on_settled(self, _: bool) -> None:
        pass

    def _on_damaged(self, content: str) -> None:
        self.damaged = digest_of(bytes.fromhex(content))  # in hexadecimal
        self.certain = self.begun = NOTHING
        self.told, self.started, self.service = {}, set(), "[]"
        self.may_set_aside = True


def violations(known: Knowledge, found: Found, has_attempts: bool) -> Iterator[str]:
    """Compare what was found with what was promised: each difference begins with its invariant."""
    if found.error:
        yield f"R recovery failed: {found.error}"
        return
    if found.text not in {known.certain, known.begun}:
        yield f"D the journal holds {found.text}, not {known.certain} (or {known.begun})"
    yield from _other_ids(known, found.claimant)
    if found.was_set_aside and not known.damaged:
        yield "R a journal that nothing but a power cut befell was set aside"
    if known.damaged and known.damaged not in found.set_aside:
        yield "R the damaged journal is gone"
    if known.damaged and not known.may_set_aside and len(found.set_aside) > 1:
        yield "R the new journal was set aside"
    after = _afterwards(known, found, has_attempts)
    yield from _broken_promises(known, after)
    yield from _insane_ends(known, after)
    if has_attempts:
        if back := sorted(known.taken_back & found.directories):
            yield f"L {', '.join(back)} never started, was removed, and is there again"
        for execution in found.recovered.executions:
            if execution.attempt is not None:
                yield from _lost_result(execution.attempt, known, found)
            yield from _wrong_directory(execution, known, found)


def _other_ids(known: Knowledge, found: Claimant) -> Iterator[str]:
    if known.agent_id and found.agent_id != known.agent_id:
        yield "D the installation's id is another one"
    if known.journal_id not in {"", found.journal_id, *found.lost_journals}:
        yield "D the journal's id is another one, and the one that it had is forgotten"


def _afterwards(known: Knowledge, found: Found, has_attempts: bool) -> Aftermath:
    events, never_started = (found.events, found.never_started) if has_attempts else _of_instant(known, found)
    never = sorted(never_started)
    key = (found.text, found.claimant, known.service, repr(never), repr(events))
    if key not in _aftermaths:
        _aftermaths[key] = aftermath(found.recovered, events, never, known.service, found.claimant)
    return _aftermaths[key]


def _of_instant(known: Knowledge, found: Found) -> tuple[list[AttemptEvent], set[AttemptId]]:
    """Tell of attempts without directories what theirs would: it is made before they start, and has no result."""
    attempts = {execution.attempt for execution in found.recovered.executions} - {None}
    started = [attempt for attempt in attempts if attempt and attempt.directory_name in known.started]
    never = {attempt for attempt in attempts if attempt and attempt not in started}
    return [AttemptEnded(attempt, result_of("lost")) for attempt in sorted(started)], never


def _broken_promises(known: Knowledge, after: Aftermath) -> Iterator[str]:
    for attempt in known.started & after.started:
        yield f"O the attempt {attempt} would be started again"
    for execution, status in known.told.items():
        said = after.told.get(execution, frozenset())
        if not said <= {status} or after.known.get(execution, status) != status:
            yield f"T {execution} was {status}, and is told to be {', '.join(said)}"
        elif not said and execution not in after.known:
            yield f"T {execution} was {status}, which is not known any more"


def _insane_ends(known: Knowledge, after: Aftermath) -> Iterator[str]:
    """One power cut is one interruption more, and takes nothing from what was counted before."""
    attempts: dict[str, int] = {}  # by execution and step
    for name in known.started | after.started:
        attempts[name.rpartition(".")[0]] = attempts.get(name.rpartition(".")[0], 0) + 1
    for job in after.service.jobs.values():
        nature = job.kind
        for step in range(len(nature.steps)):
            count = attempts.get(AttemptId(job.id, step, 0).directory_name.rpartition(".")[0], 0)
            if count > nature.most_attempts:
                yield f"X {job.id}, {job.nature}, makes {count} attempts at step {step}"
        if not ExecutionStatus(job.status).is_terminal:
            yield f"L {job.id}, {job.nature}, is {job.status} for ever"
        elif nature.ends not in {"", job.status}:
            yield f"S {job.id}, {job.nature}, ends {job.status}"


def _lost_result(attempt: AttemptId, known: Knowledge, found: Found) -> Iterator[str]:
    """A result that the shim has kept is found again, until the journal has it."""
    name = attempt.directory_name
    if name not in known.kept:
        return
    if name in known.refused:
        told = {type(event) for event in found.events if event.attempt == attempt}
        if attempt not in found.never_started and told != {AttemptNeverStarted}:
            yield f"L systemd refused to start {name}, which was kept, and now it counts as {found.events}"
        return
    result = next((e.result for e in found.events if isinstance(e, AttemptEnded) and e.attempt == attempt), None)
    said = (result.handler_result or {}) if result else {}
    is_right = result is not None and result.ending is Ending.EXITED and result.code == 0
    act = Service.of(known.service).jobs[attempt.execution].act(attempt)
    if result is None or not is_right or said != {"outcome": act, "details": {"attempt": name}}:
        yield f"D the result of {name} was kept, and is now {result}"
    elif result.stdout != f"said by {name}\n":
        yield f"D the output of {name} was kept, and is now {result.stdout!r}"


def _wrong_directory(execution: Execution, known: Knowledge, found: Found) -> Iterator[str]:
    """JOB_DIR is that of the attempts whose work goes on, and of no others: what is in it was kept before it was told.

    A checkpoint of an earlier step is none of this one.
    """
    match execution.phase:
        case Preparing(work) | Running(work) | Delayed(work) | Rebooting(work) | Stopping(work):
            pass
        case _:
            return
    *before, current = _one_work(execution, work)
    names = [attempt.directory_name for attempt in (*before, current)]
    directory = current.directory_name.rsplit(".", 2)[0]
    checkpoint, kept = found.checkpoints.get(directory), set(found.kept.get(directory, []))
    told = [name for name in names if name in known.checkpoints]
    if told and checkpoint is None:
        yield f"D the checkpoint of {told[-1]} is gone, of which the agent was told"
    gone = {attempt.directory_name for attempt in before} & known.checkpoints - kept
    if gone and not found.has_units:  # a unit's directory is systemd's
        yield f"D what {', '.join(sorted(gone))} kept is gone"
    lost = {e.attempt for e in found.events if isinstance(e, AttemptEnded) and e.result.ending is Ending.LOST}
    is_resumed = execution.attempt in lost and work.current.on_interrupt is OnInterrupt.RESUME
    if execution.attempt is None or not (current.directory_name in known.started or is_resumed):
        return
    if checkpoint not in {None, *(json.dumps(name).encode() for name in names)}:
        yield f"R the checkpoint of {current.directory_name} is {checkpoint!r}"
    if others := kept & known.started - set(names):
        yield f"R {current.directory_name} finds what {', '.join(sorted(others))} kept"


def _one_work(execution: Execution, work: Work) -> list[AttemptId]:
    """Return the attempts that find what the one before left, up to that which is under way, or next."""
    is_fresh = work.reason is not StartReason.RETRY and not work.is_resumed
    return [AttemptId(execution.id, work.step, n) for n in range(work.number if is_fresh else 1, work.number + 1)]
