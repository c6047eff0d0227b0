"""docs/simulator-coverage.md: written from findings, and read again by the test that holds it to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.member_coverage.model import CONTROL, DEVICE, FAMILIES, Member, family, members, service_model
from tests.support.files import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.member_coverage.probe import Findings

PAGE: Final = ROOT / "docs" / "simulator-coverage.md"
SERVED: Final = "yes"
NOT_YET: Final = "not yet"
NEVER: Final = "never there"
IMPOSSIBLE: Final = frozenset({("GetPendingJobExecutions", "queuedJobs[].startedAt")})  # what is QUEUED has not started
REFUSED: Final = frozenset({"StartCommandExecution"})  # of Commands, whatever service it is in
_HEADING: Final = re.compile(r"^## (\w+) \(`([\w-]+)`\)$")
_ROW: Final = re.compile(r"^\| (in|out) \| `([^`]+)` \| ([^|]+) \| ([^|]*) \| (?:`([^`]+)`)? *\|$")
_INTRODUCTION: Final = """\
# What the simulator serves of Jobs, member by member

Every operation of Jobs in AWS's own models of `iot` and `iot-jobs-data`, as botocore carries them, with every member of
its requests (in) and answers (out). `uv run python -m tests.member_coverage` writes this page: it sends an example of
each member to the simulator and looks for it in all answers. *Shown by* is an operation that shows the example
afterwards. A member that no operation shows, such as a filter, has an effect that its vector tests. The vector is the
test in `tests/unit/simulator` that is most about the member. A test fails, by name, if a newer botocore has a member
that this page does not know, or if the page is not true.

"""


class Row(NamedTuple):
    """What the page says of a member."""

    served: str
    shown_by: str
    vector: str


def rows(findings: Findings, vector: Callable[[Member], str | None]) -> Iterator[tuple[Member, Row]]:
    """What there is to say of every member of the models."""
    for member in all_members():
        found = vector(member)
        if (member.operation, member.path) in IMPOSSIBLE:
            yield member, Row(NEVER, "", "")
            continue
        is_served = member in findings.taken or (member.way == "out" and found is not None)
        shown = findings.shown.get(member, "")
        yield member, Row(SERVED if is_served else NOT_YET, shown, (found or "") if is_served else "")


def all_members() -> list[Member]:
    """Every member of Jobs in both models, without what belongs to Commands."""
    both = [*members(service_model(CONTROL)), *members(service_model(DEVICE))]
    return [member for member in both if member.operation not in REFUSED]


def written(all_rows: Iterable[tuple[Member, Row]]) -> str:
    """The page."""
    lines, listed = [], list(all_rows)
    for way, what in (("in", "requests"), ("out", "answers")):
        of_way = [row for member, row in listed if member.way == way]
        served = sum(row.served == SERVED for row in of_way)
        lines.append(f"- {served} of {len(of_way)} members of {what} are served.")
    previous = None
    for member, row in listed:
        if (member.service, member.operation) != previous:
            previous = (member.service, member.operation)
            lines += ["", f"## {member.operation} (`{member.service}`)", ""]
            lines += ["| | member | served | shown by | vector |", "|---|---|---|---|---|"]
        vector = f"`{row.vector}`" if row.vector else ""
        lines.append(f"| {member.way} | `{member.path}` | {row.served} | {row.shown_by} | {vector} |")
    return _INTRODUCTION + "\n".join([*lines, "", *_other_families()]) + "\n"


def read(text: str) -> dict[Member, Row]:
    """What the page says."""
    found: dict[Member, Row] = {}
    service = operation = ""
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            operation, service = heading.groups()
        elif row := _ROW.match(line):
            way, path, served, shown_by, vector = row.groups()
            found[Member(service, operation, way, path)] = Row(served.strip(), shown_by.strip(), vector or "")
    return found


def _other_families() -> Iterator[str]:
    yield "## Other families"
    yield ""
    yield "These share the models with Jobs and are not part of it. Each is refused by its name, with"
    yield "`… is not supported by this simulator`."
    yield ""
    yield "| family | operations |"
    yield "|---|---|"
    for name, words in FAMILIES.items():
        yield f"| {name} | {', '.join(family(service_model(CONTROL), words) + _of_device(name))} |"


def _of_device(name: str) -> list[str]:
    return sorted(REFUSED) if name == "Commands" else []
