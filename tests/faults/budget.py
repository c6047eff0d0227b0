"""What the soak's agent may ask about one execution, and write for it: promise B, judged by the service's record alone.

The rule is that of the model's oracle and of N5. What the agent knows is not asked: progress is what the record and the
handlers' ledger show of it.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil, inf
from pathlib import Path
from typing import Any

BURST, BURST_S = 6, 10.0  # requests about one execution without progress
TWO_IN_S = 60.0  # beyond the burst
# Measured on ext4 with six seeds: 80 to 111 KiB for each execution in trouble, for its commits and the attempt's files,
# and 8 to 55 KiB for one that is refused and seldom starts. Twice that is the budget; without back-off it is 388 KiB.
WRITTEN_KB = {"in trouble": 220, "refused": 110}
TERMINAL = {"SUCCEEDED", "FAILED", "REJECTED"}

# Every code that the service has (developer guide, page jobs-api, "ErrorCode"), and one that it has not.
CODES = (
    "InvalidTopic",
    "InvalidJson",
    "InvalidRequest",
    "InvalidStateTransition",
    "ResourceNotFound",
    "VersionMismatch",
    "InternalError",
    "RequestThrottled",
    "TerminalStateReached",
    "SomethingNew",
)


@dataclass
class Patience:
    """When requests about an execution went out since it last made progress.

    An accepted claim is not progress yet, but the request that follows it, `is_claimed`, is not counted.
    """

    asked_at: list[float] = field(default_factory=list)
    version: int = 1
    is_claimed: bool = False
    has_started: bool = False


@dataclass
class Requests:
    """The witness. Times are seconds of one clock; since `quiet_since`, what fails are refusals and nothing else."""

    ledger: Path
    seen: list[str] = field(default_factory=list)
    total: int = 0
    most: int = 0
    most_in_10_s: int = 0
    quiet_since: float = inf
    _known: dict[str, Patience] = field(default_factory=lambda: defaultdict(Patience))
    _asked: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _read_bytes: int = 0

    @property
    def is_quiet(self) -> bool:
        return self.quiet_since < inf

    def note_starts(self) -> None:
        """Look which attempts have started: that is progress."""
        with self.ledger.open("rb") as file:
            file.seek(self._read_bytes)
            lines = file.read().rpartition(b"\n")[0]
        self._read_bytes += len(lines) + bool(lines)
        for line in lines.decode().splitlines():
            known = self._known[line.split()[0]]
            known.asked_at.clear()
            known.has_started = True

    def note_disconnect(self) -> None:
        """After a connect, all that waits may be asked and told once more."""
        for known in self._known.values():
            known.asked_at.clear()

    def note(self, execution: str, update: dict[str, Any] | None, version: int, now: float) -> None:
        """Count a request; `update` is its payload if it is one. `version` is the record's, once it was answered."""
        self.total += 1
        self._asked[execution] += 1
        self.most = max(self.most, self._asked[execution])
        known = self._known[execution]
        is_accepted, known.version = version > known.version, version
        if update and update["status"] in TERMINAL and known.has_started:
            known.has_started = False
            known.asked_at.clear()  # the attempt has ended
        if known.is_claimed:
            known.is_claimed = False
            return
        known.asked_at.append(now)
        self._judge(execution, known.asked_at, now)
        if update and is_accepted:
            known.is_claimed = update["status"] == "IN_PROGRESS" and "expectedVersion" in update
            if not known.is_claimed:
                known.asked_at.clear()

    def _judge(self, execution: str, asked_at: list[float], now: float) -> None:
        recent = sum(at > now - BURST_S for at in asked_at)
        self.most_in_10_s = max(self.most_in_10_s, recent)
        if recent == BURST + 1:
            self.seen.append(f"B: {recent} requests within 10 s about {execution}")
        budget = BURST + max(0, 2 * ceil((now - asked_at[0] - BURST_S) / TWO_IN_S))
        if asked_at[0] >= self.quiet_since and len(asked_at) == budget + 1:
            self.seen.append(f"B: {len(asked_at)} requests, beyond two a minute, about {execution}")


@dataclass
class Written:
    """What the agent's own process has written to the disk, in KiB for each execution that ended meanwhile."""

    seen: list[str]
    each_kb: dict[str, int] = field(default_factory=dict)
    _last: tuple[int, int] = (0, 0)

    def note(self, when: str, pid: int, executions: int) -> None:
        """Close a period: `executions` have ended by now."""
        [written] = re.findall(r"^write_bytes: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
        (bytes_before, before), self._last = self._last, (int(written), executions)
        if executions == before:
            return
        each_kb = (int(written) - bytes_before) // 1024 // (executions - before)
        self.each_kb[when] = each_kb
        if not 0 < each_kb <= WRITTEN_KB[when]:
            self.seen.append(f"B: {each_kb} KiB were written for each execution {when}, not 1 to {WRITTEN_KB[when]}")
