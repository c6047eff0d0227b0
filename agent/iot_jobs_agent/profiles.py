"""What is wrong with the profiles that handlers' own units have: systemd is asked, and its answer is judged.

Owns the rules for a unit template `iot-job-PROFILE@.service` (docs/security.md). It changes nothing.
"""

import asyncio
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iot_jobs_agent.device import AS_USER
from iot_jobs_agent.installation import installation
from iot_jobs_agent.trust import trust_problem

TEMPLATES = Path("/usr/lib/systemd/system")
NAME = "iot-job-{}@{}.service"
PATTERN = "/usr/share/iot-jobs-agent/iot-job-as-USER@.service"
_NOBODYS = "0" * 24
_ROOT = frozenset({0})
_ANSWER_S = 10.0
_ASKED = (
    "LoadState,FragmentPath,DropInPaths,RuntimeMaxUSec,ExecStart,ExecStopPost,KillMode,DynamicUser,User,StateDirectory"
)
_STATE_DIRECTORIES = ("iot-jobs", "iot-jobs-privileged", "iot-jobs-logs")  # that iot-job-forget@.service knows
_USERS_DIRECTORY = "iot-jobs-users"  # that it knows, too
_ORDINARY, _PRIVILEGED = "iot_jobs_agent.shim.entry", "iot_jobs_agent.privileged"
_LIMITS = {  # the properties that systemd shows, and the settings that they come from
    "MemoryMax": "MemoryMax",
    "MemorySwapMax": "MemorySwapMax",
    "TasksMax": "TasksMax",
    "CPUQuotaPerSecUSec": "CPUQuota",
    "RuntimeMaxUSec": "RuntimeMaxSec",
}
_NONE = frozenset({"", "infinity", "[not set]", str((1 << 64) - 1)})
_KIB = 1024
_UNITS_OF_TIME = {"y": 31557600, "month": 2629800, "w": 604800, "d": 86400, "h": 3600, "min": 60, "s": 1, "ms": 0.001}
_SPAN = re.compile(r"([0-9.]+)(y|month|w|d|h|min|ms|s)\b")


def are_installed() -> bool:
    """Return whether the templates that come with the package are on this device. Blocking."""
    return (TEMPLATES / NAME.format("network", "")).exists()


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long a profile lets a handler run, in seconds; 0 if it sets no limit. `file` is the profile's."""

    file: Path
    seconds: float

    def problem(self, handler: str, longest_s: float) -> str:
        """Return why a handler that may run for so long, grace included, would be cut off; "" if it would not."""
        if not self.seconds or longest_s <= self.seconds:
            return ""
        return (
            f"handler {handler} may run for {longest_s:g} s, but RuntimeMaxSec= in {self.file} ends it after "
            f"{self.seconds:g} s; set max_timeout_s in [handler.{handler}], or raise the limit with `systemctl edit`"
        )


async def time_limits(profiles: Iterable[str]) -> dict[str, TimeLimit]:
    """Return the limit of each of these profiles that systemd has loaded, by name; empty if it does not answer.

    Source: systemd.service(5), RuntimeMaxSec=.
    """
    shown = await _shown(profiles, "Id,FragmentPath,RuntimeMaxUSec")
    return {
        profile: TimeLimit(Path(each["FragmentPath"]), _seconds(each.get("RuntimeMaxUSec", "")))
        for profile, each in shown.items()
    }


async def unit_limits(profiles: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the limits of each of these profiles that systemd has loaded, by name and setting, in systemd's words.

    Source: systemd.resource-control(5). What is unlimited is left out; empty if systemd does not answer.
    """
    asked = ",".join(("Id", "FragmentPath", *_LIMITS))
    limits = {}
    for profile, properties in (await _shown(profiles, asked)).items():
        found = {key: properties.get(key, "") for key in _LIMITS}
        limits[profile] = {_LIMITS[key]: _as_set(key, value) for key, value in found.items() if value not in _NONE}
    return limits


async def _shown(profiles: Iterable[str], asked: str) -> dict[str, dict[str, str]]:
    """Return properties of the profiles that systemd has loaded, by name."""
    units = {NAME.format(profile, _NOBODYS): profile for profile in sorted(set(profiles))}
    if not units:
        return {}
    said = await _ask("systemctl", "show", *units, f"--property={asked}", "--no-pager")
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in said.split("\n\n")]
    return {units[each["Id"]]: each for each in blocks if each.get("Id") in units and each.get("FragmentPath")}


def _as_set(key: str, value: str) -> str:
    """Return the value of a property as the setting takes it: a share in percent, bytes in the largest whole unit."""
    if key == "CPUQuotaPerSecUSec":
        return f"{_seconds(value) * 100:g}%"
    if not value.isdigit() or int(value) < _KIB:
        return value
    size, unit = int(value), ""
    for larger in "KMGT":
        if size % _KIB:
            break
        size, unit = size // _KIB, larger
    return f"{size}{unit}"


async def user_problems(user: str, longest_s: Mapping[str, float], believed: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return what is wrong with the profile `as-USER` of a user of `handlers.run_as_users`, as `profile_problems`."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return [
            f"handlers.run_as_users: user {user} does not exist on this device; create it, or remove it from the list"
        ]
    return await profile_problems(f"{AS_USER}{user}", longest_s, believed, user)


async def profile_problems(
    profile: str, longest_s: Mapping[str, float], believed: Mapping[str, Sequence[Path]], user: str = ""
) -> list[str]:
    """Return what is wrong with a profile, one sentence each without its full stop; empty if nothing is.

    `longest_s` has the handlers that use it, each with the longest time that it may run, in seconds, which is judged
    here for a user's profile alone: in any other, the catalog refuses what would be cut off. `believed` has the
    files that each of them is, runs or believes. `user` is the user of the device that the profile is for, if it is for
    one.
    """
    unit = NAME.format(profile, _NOBODYS)
    shown = await _ask("systemctl", "show", unit, f"--property={_ASKED}", "--no-pager")
    properties = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    template = NAME.format(profile, "")
    if "LoadState" not in properties:
        return ['handlers.launcher: systemd does not answer here, and "units" needs it; write launcher = "plain"']
    if problem := _load_problem(template, profile, properties["LoadState"], user):
        return [
            f"handlers.run_as_users: {problem}" if user else f"{problem} (profile of {', '.join(sorted(longest_s))})"
        ]
    files = [Path(name) for name in (properties["FragmentPath"], *properties["DropInPaths"].split()) if name]
    found = [problem for file in files if (problem := trust_problem(file, owners=_ROOT))]
    judged = _user_problems(properties, user) if user else _setting_problems(properties)
    found += [f"{files[0]}: {problem}" for problem in (*judged, *_ending_problems(properties))]
    found += [line for file in files for line in await _warnings(file, unit)]
    if _PRIVILEGED in properties.get("ExecStart", ""):
        found += _belief_problems(profile, {name: believed.get(name, ()) for name in longest_s})
    if user:  # those of the others are the catalog's to refuse
        limit = TimeLimit(files[0], _seconds(properties["RuntimeMaxUSec"]))
        found += [problem for name in sorted(longest_s) if (problem := limit.problem(name, longest_s[name]))]
    return found


def _load_problem(template: str, profile: str, state: str, user: str) -> str:
    match state:
        case "not-found" if user:
            made = f"/etc/systemd/system/{template}"
            return f"{template} does not exist; run `sed s/USER/{user}/g {PATTERN} > {made} && systemctl daemon-reload`"
        case "loaded":
            return ""
        case "masked":
            return f"{template} is masked; run `systemctl unmask {template}`"
        case "not-found":
            return f'{template} does not exist; write it (docs/security.md), or correct profile = "{profile}"'
        case _:
            return f"{template} cannot be loaded ({state}); run `systemd-analyze verify {template}`"


def _setting_problems(properties: Mapping[str, str]) -> Iterable[str]:
    """Find settings without which a handler could do more than it may, or would leave what nobody removes."""
    start = properties.get("ExecStart", "")
    has_user = properties.get("DynamicUser") == "yes" and properties.get("User") == f"j-{_NOBODYS}"
    if _ORDINARY not in start and _PRIVILEGED not in start:
        yield "ExecStart= does not start the agent's first process; copy it from another profile"
    if _ORDINARY in start and not has_user:
        yield (
            "the agent names the program that runs there, and its user is not one of its own; write DynamicUser=yes "
            "and User=j-%i, or copy ExecStart= from a privileged profile"
        )
    if properties.get("StateDirectory") not in {f"{name}/{_NOBODYS}" for name in _STATE_DIRECTORIES}:
        names = ", ".join(f"{name}/%i" for name in _STATE_DIRECTORIES)
        yield f"StateDirectory= is none of {names}, so nothing would remove what a job leaves; write one of them"


def _user_problems(properties: Mapping[str, str], user: str) -> Iterable[str]:
    """Find settings with which a step would not run as this user, or anything that the agent names would."""
    if _PRIVILEGED not in properties.get("ExecStart", ""):
        yield f"ExecStart= does not start the first process of a privileged profile; copy it from {PATTERN}"
    if properties.get("DynamicUser") == "yes":
        yield f"DynamicUser= is yes, but {user} is a user of the device; remove it"
    if (found := properties.get("User") or "root") != user:
        yield f"User= is {found}; write User={user}"
    if properties.get("StateDirectory") != f"{_USERS_DIRECTORY}/{_NOBODYS}/{user}":
        yield f"StateDirectory= is not {_USERS_DIRECTORY}/%i/{user}, which nobody else may look into; write that"


def _ending_problems(properties: Mapping[str, str]) -> Iterable[str]:
    """Find settings without which nobody would hear how a handler ended, or some of it would not end."""
    if "handler-ended" not in properties.get("ExecStopPost", ""):
        yield "ExecStopPost= does not note how the handler ended; copy it from another profile"
    if properties.get("KillMode") != "control-group":
        yield "KillMode= is not control-group, so processes could be left; remove it"


def _belief_problems(profile: str, believed: Mapping[str, Sequence[Path]]) -> Iterable[str]:
    """Find files that the agent may believe, but root may not: they belong to the agent's user."""
    for name, files in sorted(believed.items()):
        for file in files:
            if file.exists() and (problem := trust_problem(file, owners=_ROOT, exempt=installation())):
                yield f"{name} has the privileged profile {profile}, which does not believe this file: {problem}"


async def _warnings(file: Path, unit: str) -> list[str]:
    """Return what systemd finds wrong in a file, such as a key that it does not know."""
    said = await _ask("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit, errors=True)
    lines = dict.fromkeys(line.strip() for line in said.splitlines() if line.startswith(f"{file}:"))
    return [f"{line.removesuffix(', ignoring.').removesuffix('.')}; correct or remove it" for line in lines]


def _seconds(span: str) -> float:
    """Return a time span as systemd shows it in seconds; 0 for `infinity`."""
    return sum(float(count) * _UNITS_OF_TIME[unit] for count, unit in _SPAN.findall(span))


async def _ask(*command: str, errors: bool = False) -> str:
    """Return what a program of systemd's prints, "" if it does not."""
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    out, err = (null, pipe) if errors else (pipe, null)
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=null, stdout=out, stderr=err)
    except OSError:
        return ""
    try:
        printed, complained = await asyncio.wait_for(process.communicate(), _ANSWER_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return ((complained if errors else printed) or b"").decode(errors="replace")
