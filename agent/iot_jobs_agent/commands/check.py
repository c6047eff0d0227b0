"""`iot-jobs-agent check`: finds whatever can be found wrong before the first job, and says how to fix it."""

import argparse
import asyncio
import contextlib
import errno
import os
import pwd
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from iot_jobs_agent import logs
from iot_jobs_agent.built_ins import RUN_COMMAND
from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import printable
from iot_jobs_agent.config.config import load, problems
from iot_jobs_agent.config.credentials import unreadable, with_credentials_directory
from iot_jobs_agent.config.spelling import advised
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.device import AS_USER
from iot_jobs_agent.errors import StateDirectoryError
from iot_jobs_agent.profiles import profile_problems, user_problems
from iot_jobs_agent.state import directory as state_directory
from iot_jobs_agent.state import status
from iot_jobs_agent.state.owner import acting_as_owner, become_owner, refuse_of_others
from iot_jobs_agent.state.volatile import why_volatile
from iot_jobs_agent.unit import unit_of, write_problem

if TYPE_CHECKING:
    from iot_jobs_agent.catalog.catalog import Catalog

CheckResult: TypeAlias = tuple[bool, str]  # whether it is all right, and one sentence

LOGIND_S = 5.0
NETWORK_S = 12.0  # somebody waits for it, so it is less than the agent itself gives slow networks
_WRITABLE = "make it, writable by the agent's user (docs/install.md)"
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # a clock that shows an earlier time than this code's cannot be right


def main(arguments: Sequence[str]) -> int:
    """Print one line per finding. Return 0 if all is well, 78 if the configuration is wrong, 1 if something else is."""
    chosen = parser().parse_args(arguments)
    logs.configure("warning", "console")  # the request to AWS logs, and stdout is for the findings
    found = problems(chosen.config)
    for problem in found:
        print(f"wrong  {problem}")
    if found:
        print(f"{len(found)} problem{'s' if len(found) > 1 else ''} in {chosen.config}; nothing else was checked")
        return os.EX_CONFIG
    settings = load(chosen.config)
    print(f"ok     configuration {chosen.config}")
    directory = settings.agent.state_directory
    network = _credentials(settings)  # all of it with a key that root alone may read
    if all(is_ok for is_ok, _ in network) and not chosen.offline:
        limit_s = chosen.timeout or NETWORK_S
        network += asyncio.run(_network(settings, limit_s, is_connected=_is_connected(directory)))
    become_owner(directory)
    network += _unreadable(settings, chosen.config)
    here = [_state_directory(settings), _clock(), *asyncio.run(_handlers(settings, chosen.config.absolute()))]
    findings = [*here, *network]
    for is_ok, line in findings:
        print(f"{'ok    ' if is_ok else 'wrong '} {printable(line)}")
    return 0 if all(is_ok for is_ok, _ in findings) else 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("check")
    options.add_config(made)
    made.add_argument("--offline", action="store_true", help="do not try to reach AWS")
    options.add_timeout(made, f"give up on AWS after so many seconds (default: {NETWORK_S:g})")
    return made


def _state_directory(settings: Config) -> CheckResult:
    directory = settings.agent.state_directory
    try:
        nearest = next(path for path in (directory, *directory.parents) if path.exists())
    except PermissionError:
        return False, f"agent.state_directory: {directory} is hidden from user {_user()}; let that user get there."
    if not os.access(nearest, os.W_OK | os.X_OK):
        return False, f"agent.state_directory: {nearest} cannot be written by this user; make it the agent's user's."
    try:
        if nearest == directory:
            refuse_of_others(directory)
    except StateDirectoryError as error:
        return False, f"{error}."
    if why := why_volatile(directory):
        said = f"agent.state_directory: {why}, so nothing there survives a reboot; see docs/install.md."
        return settings.agent.reboots_without_state, said
    return True, f"state directory {directory}"


def _clock() -> CheckResult:
    now = datetime.now(UTC)
    if now >= EARLIEST:
        return True, f"clock {now:%Y-%m-%d %H:%M:%S} UTC"
    return False, f"the clock says {now:%Y-%m-%d}: certificates will not be valid yet; let it synchronise first."


def _credentials(settings: Config) -> list[CheckResult]:
    from iot_jobs_agent.aws.tls import (  # noqa: PLC0415 - not needed to report a wrong configuration
        certificate_problem,
        credentials_problem,
    )

    problem = credentials_problem(settings.aws) or certificate_problem(settings.aws)
    return [(False, f"{problem}.") if problem else (True, f"certificate {settings.aws.certificate} and its key")]


def _unreadable(settings: Config, config: Path) -> list[CheckResult]:
    """Find the certificate's files that root could read, but the agent's user cannot. systemd copies the others."""
    copied = with_credentials_directory(os.environ, config).get("CREDENTIALS_DIRECTORY", "")
    findings = []
    for key in ("certificate", "private_key", "root_ca"):
        path: Path = getattr(settings.aws, key)
        if not (copied and path.is_relative_to(copied)) and not os.access(path, os.R_OK, effective_ids=True):
            error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            findings.append((False, unreadable(f"aws.{key}", path, error)))
    return findings


def _is_connected(directory: Path) -> bool:
    """Return whether an agent runs here and says that it is connected."""
    with acting_as_owner(directory):
        try:
            return state_directory.is_locked(directory) and bool(status.read(directory)["connection"]["is_connected"])
        except StateDirectoryError:
            return False


async def _network(settings: Config, limit_s: float, *, is_connected: bool) -> list[CheckResult]:
    from iot_jobs_agent.aws.probe import mqtt_and_https  # noqa: PLC0415 - the SDK is slow to import

    found = await mqtt_and_https(settings, limit_s, is_connected=is_connected)
    return [(is_ok, said if is_ok else f"{said}.") for is_ok, said in found]


async def _handlers(settings: Config, config: Path) -> list[CheckResult]:
    from iot_jobs_agent.catalog.catalog import Catalog  # noqa: PLC0415 - not needed to report a wrong configuration

    catalog = Catalog(settings)
    await catalog.refresh()
    findings = []
    for name, handler in sorted(catalog.enabled().items()):
        if handler.unavailable:
            findings.append((False, f"handlers.enabled: {name} is unavailable: {handler.unavailable}"))
        else:
            findings.append((True, f"handler {name}"))
    findings += [*_programs(settings), *_roots(settings, await unit_of(config)), *await _reboot(settings)]
    if settings.handlers.launcher == "units":
        findings += await _profiles(settings, catalog)
    return findings or [(False, "handlers.enabled: is empty, every job will be REJECTED; name the handlers to allow.")]


async def _profiles(settings: Config, catalog: "Catalog") -> list[CheckResult]:
    """Find what is wrong with the profiles of enabled handlers, and of users as whom steps may run; each once."""
    longest_s = {name: handler.longest_s for name, handler in catalog.enabled().items()}
    users: dict[str, dict[str, float]] = {}
    for name, seconds in longest_s.items():
        users.setdefault(settings.profile_of(name), {})[name] = seconds
    believed = {name: catalog.believed(name) for name in longest_s}
    wrong = {profile: await profile_problems(profile, longest, believed) for profile, longest in sorted(users.items())}
    free = {name: seconds for name, seconds in longest_s.items() if name not in settings.profiles}
    for user in settings.handlers.run_as_users:
        if user != _user():  # that of the agent needs no unit
            wrong[f"{AS_USER}{user}"] = await user_problems(user, free, believed)
    findings: list[CheckResult] = []
    for profile, found in wrong.items():
        findings += [(False, f"{problem}.") for problem in found] or [(True, f"profile {profile}")]
    return findings


def _programs(settings: Config) -> list[CheckResult]:
    """Find the `programs` of an enabled run-command that do not exist; each may be installed later."""
    if RUN_COMMAND not in settings.handlers.enabled:
        return []
    programs = map(Path, settings.handler_settings(RUN_COMMAND).get("programs", []))
    missing = [path for path in programs if not path.exists()]
    return [(False, _missing(f"handler.{RUN_COMMAND}.programs: {path} is not there", path)) for path in missing]


def _missing(fault: str, path: Path) -> str:
    with contextlib.suppress(OSError):
        beside = [entry.name for entry in path.parent.iterdir()]
        return advised(fault, path.name, beside, "install it, or correct the path")
    return f"{fault}; correct the path."


def _roots(settings: Config, unit: Mapping[str, str]) -> list[CheckResult]:
    """Find the `roots` of enabled handlers that do not exist, or that this user or the agent's unit cannot write to."""
    findings = []
    for name in settings.handlers.enabled:
        for root in settings.handler_settings(name).get("roots", []):
            where = f"handler.{name}.roots: {root}"
            if not os.path.isdir(root):  # noqa: PTH112 - it is False, not an error, for what this user may not see
                findings.append((False, f"{where} is not there, or hidden from user {_user()}; {_WRITABLE}."))
            elif settings.handlers.launcher == "units":
                continue  # the handler's profile decides, and its user is another one
            elif not os.access(root, os.W_OK | os.X_OK, effective_ids=True):
                findings.append((False, f"{where} cannot be written by user {_user()}; {_WRITABLE}."))
            elif problem := write_problem(Path(root), unit):
                findings.append((False, f"{where} {problem}."))
    return findings


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


async def _reboot(settings: Config) -> list[CheckResult]:
    """Ask logind whether this user may reboot the device, if systemd is to do it and a handler may want it."""
    wanting = [name for name in settings.handlers.enabled if settings.manifest_overrides(name).get("may_reboot")]
    if not wanting or Path(settings.agent.reboot_command[0]).name != "systemctl":
        return []
    answer = await _can_reboot()
    if answer in {"", "yes"}:
        return [(True, f"user {_user()} may reboot the device")] if answer else []
    problem = (
        f"handler.{wanting[0]}.may_reboot: user {_user()} may not reboot the device (logind says {answer}); "
        "install polkitd and the polkit rule (docs/install.md)."
    )
    return [(False, problem)]


async def _can_reboot() -> str:
    """Return logind's answer to CanReboot, which asks polkit (org.freedesktop.login1(5)); "" if there is no logind."""
    login1 = "org.freedesktop.login1"
    command = ("busctl", "call", login1, "/org/freedesktop/login1", f"{login1}.Manager", "CanReboot")
    null = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=null, stdout=asyncio.subprocess.PIPE, stderr=null
        )
    except OSError:
        return ""
    try:
        output, _ = await asyncio.wait_for(process.communicate(), LOGIND_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return output.decode(errors="replace").removeprefix("s ").strip().strip('"')
