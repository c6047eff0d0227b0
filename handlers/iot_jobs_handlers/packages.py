"""Installs and removes Debian packages with apt-get, unattended, and verifies the result."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome
from iot_jobs_handlers import programs

LOCK_TIMEOUT_S = 300
NAME = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]"  # Debian policy 5.6.1; to apt-get, a trailing `-` means: remove it
VERSION = r"[A-Za-z0-9][A-Za-z0-9.+~:-]*"
DPKG = Path("/var/lib/dpkg")
_INSTALLED = "ii "
_LOCKED = re.compile(r"(could not get|unable to (lock|acquire)|is locked by) .*", re.IGNORECASE)

Wanted = Annotated[str, Field(max_length=256, pattern=rf"^{NAME}(={VERSION})?$")]
Unwanted = Annotated[str, Field(max_length=256, pattern=rf"^{NAME}$")]


class Install(BaseModel, frozen=True, extra="forbid"):
    """What to install."""

    packages: tuple[Wanted, ...] = Field(min_length=1, max_length=100, description="`NAME` or `NAME=VERSION` each")
    update: bool = Field(default=True, description="run `apt-get update` first")


class Remove(BaseModel, frozen=True, extra="forbid"):
    """What to remove."""

    packages: tuple[Unwanted, ...] = Field(
        min_length=1, max_length=100, description="`NAME` each; what depends on them goes too, configuration files stay"
    )


def install(params: Install, job: Job) -> Outcome:
    """Install the packages. Settings: `lock_timeout_s`."""
    if not is_privileged():
        return Outcome.rejected("needs a privileged unit")
    apt = apt_get(job)
    try:
        mend()
        if params.update:
            job.progress(5, "updating the lists of packages")
            run_or_raise([*apt, "update"])
        unknown = [name for name in names(params.packages) if not is_known(name)]
        if unknown:
            raise HandlerError(f"no source has a package named {', '.join(unknown)}")
        job.progress(20, "installing")
        run_or_raise([*apt, "install", "--no-remove", "--allow-downgrades", "--", *params.packages])
    except Locked as error:
        return Outcome.retry(str(error))
    there = versions(names(params.packages))
    for name, _, version in (each.partition("=") for each in params.packages):
        if name not in there:
            raise HandlerError(f"apt-get succeeded, and {name} is not installed all the same")
        if version and there[name] != version:
            raise HandlerError(f"apt-get succeeded, and {name} has version {there[name]} all the same")
    return Outcome.succeeded(**there)


def remove(params: Remove, job: Job) -> Outcome:
    """Remove those of the packages that are installed. Settings: `lock_timeout_s`."""
    if not is_privileged():
        return Outcome.rejected("needs a privileged unit")
    apt = apt_get(job)
    try:
        mend()
        # Only name what is installed: apt-get would take an unknown NAME+ as an order to install NAME.
        there = versions(params.packages, status="")
        if there:
            job.progress(20, "removing")
            run_or_raise([*apt, "remove", "--", *there])
    except Locked as error:
        return Outcome.retry(str(error))
    left = versions(params.packages, status="")
    if left:
        raise HandlerError(f"apt-get succeeded, and {', '.join(left)} is there all the same")
    return Outcome.succeeded(removed=" ".join(there))


class Locked(Exception):  # noqa: N818 - it says what is the case
    """Another program holds the lock of apt or dpkg for longer than we wait. The message is for people."""


def is_privileged() -> bool:
    """Return whether we can change packages at all: as root, and with a writable /usr and dpkg database."""
    return os.geteuid() == 0 and os.access(DPKG, os.W_OK) and os.access("/usr", os.W_OK)


def apt_get(job: Job) -> list[str]:
    """Return the start of the command line, and set the environment so that apt asks nothing and keeps edited files.

    HandlerError if the settings are wrong.
    """
    timeout_s = job.settings.get("lock_timeout_s", LOCK_TIMEOUT_S)
    if not isinstance(timeout_s, int) or timeout_s < 0:
        raise HandlerError("`lock_timeout_s` must be a whole number of seconds")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    os.environ["APT_LISTCHANGES_FRONTEND"] = "none"
    os.environ["NEEDRESTART_MODE"] = "l"  # only list what should be restarted
    return [
        "apt-get",
        "--yes",
        "--quiet=1",  # no progress bars, but a line while it waits for a lock
        f"--option=DPkg::Lock::Timeout={timeout_s}",
        "--option=APT::Cmd::Pattern-Only=true",  # otherwise apt-get takes an unknown name as a regular expression
        "--option=Dpkg::Options::=--force-confdef",
        "--option=Dpkg::Options::=--force-confold",
    ]


def mend() -> None:
    """Finish what an interrupted dpkg left half done, because apt-get refuses to work before. HandlerError, Locked."""
    if any(path.name.isdigit() for path in (DPKG / "updates").glob("*")):
        run_or_raise(["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"])


def run_or_raise(argv: Sequence[str]) -> None:
    """Run apt-get or dpkg. Locked if another program holds the lock, HandlerError for any other failure."""
    held = programs.Cause(_LOCKED, Locked, "another program holds the lock of apt or dpkg")
    programs.raise_for_failure(programs.run(argv), [held], prefix="E: ")


def names(packages: Iterable[str]) -> list[str]:
    """Return the names of the packages without versions."""
    return [each.partition("=")[0] for each in packages]


def is_known(name: str) -> bool:
    """Return whether apt knows a package of exactly this name, available or installed; virtual ones do not count."""
    finished = programs.run(["apt-cache", "--quiet=2", "show", "--no-all-versions", f"?exact-name({name})"], out=True)
    return finished.code == 0 and bool(finished.out.strip())


def versions(packages: Sequence[str], status: str = _INSTALLED) -> dict[str, str]:
    """Return the installed ones with their versions; with `status` empty, also those that are only half installed."""
    known = {}
    query = ["dpkg-query", "--show", "--showformat=${Package}\\t${db:Status-Abbrev}\\t${Version}\\n", "--"]
    for name in dict.fromkeys(names(packages)):
        for line in programs.run([*query, name], out=True).out.splitlines():
            found, state, version = line.split("\t")
            if state.startswith(status) and state[1:2] not in {"n", "c"}:
                known[found] = version
    return known


INSTALL = Handler(
    name="install-packages",
    params=Install,
    run=install,
    summary="Install Debian packages with apt-get.",
    on_interrupt="rerun",
    exclusive=True,
    grace_s=300.0,
)
REMOVE = Handler(
    name="remove-packages",
    params=Remove,
    run=remove,
    summary="Remove Debian packages with apt-get.",
    on_interrupt="rerun",
    exclusive=True,
    grace_s=300.0,
)
