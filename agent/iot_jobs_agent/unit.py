"""What the systemd unit of the agent lets its processes write: systemd is asked, and its answer is judged.

Owns the rules of systemd.exec(5) as far as directories that a job may write to are concerned. It changes nothing.
"""

import asyncio
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "iot-jobs-agent"
_ANSWER_S = 5.0
_BASES = {  # of the directories that systemd makes for a unit; it may write to them
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "LogsDirectory": "/var/log",
    "RuntimeDirectory": "/run",
}
_ASKED = "LoadState,ExecStart,ProtectSystem,ProtectHome,PrivateTmp,ReadWritePaths,ReadOnlyPaths,BindPaths"
_PROTECTED = {  # what each value of ProtectSystem makes read-only
    "yes": ("/usr", "/boot", "/efi"),
    "full": ("/usr", "/boot", "/efi", "/etc"),
    "strict": ("/",),
}
_NEVER_PROTECTED = ("/dev", "/proc", "/sys")  # from ProtectSystem=strict
_HOMES = ("/home", "/root", "/run/user")
_OFF = {"", "no"}


async def unit_of(config: Path) -> Mapping[str, str]:
    """Return the properties of the unit that runs with this configuration; empty if there is none, or no systemd.

    `config` is absolute.
    """
    names = ",".join((_ASKED, *_BASES))
    null = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *("systemctl", "show", f"{NAME}.service", f"--property={names}", "--no-pager"),
            stdin=null,
            stdout=asyncio.subprocess.PIPE,
            stderr=null,
        )
    except OSError:
        return {}
    try:
        output, _ = await asyncio.wait_for(process.communicate(), _ANSWER_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return {}
    lines = (line.partition("=") for line in output.decode(errors="replace").splitlines())
    shown = {key: value for key, _, value in lines}
    is_meant = shown.get("LoadState") == "loaded" and str(config) in shown.get("ExecStart", "").split()
    return shown if is_meant else {}


def write_problem(directory: Path, unit: Mapping[str, str]) -> str:
    """Return why the unit cannot write there, and what to do, to be read after the directory's name; "" if it can.

    The most specific path decides (systemd.exec(5), ReadWritePaths=); nothing makes a hidden directory visible.
    """
    real = directory.resolve()
    home, private = unit.get("ProtectHome", ""), unit.get("PrivateTmp", "")
    if home not in _OFF and any(real.is_relative_to(each) for each in _HOMES):
        if home != "read-only":
            return f"is hidden from the unit {NAME} (ProtectHome={home}); choose a directory that is not below a home"
    elif private not in _OFF and any(real.is_relative_to(each) for each in ("/tmp", "/var/tmp")):  # noqa: S108 - systemd's
        return (
            f"is one of the unit {NAME} alone (PrivateTmp={private}), and is emptied when it stops; "
            "choose a directory elsewhere"
        )
    deepest, why = max(_rules(unit), key=lambda rule: len(rule[0].parts) if real.is_relative_to(rule[0]) else -1)
    if not why or not real.is_relative_to(deepest):
        return ""
    return (
        f"is read-only for the unit {NAME} ({why}); put ReadWritePaths={directory} below [Service] with "
        f"`systemctl edit {NAME}`, then restart it"
    )


def _rules(unit: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Give paths, each with the setting that makes it read-only, or with "" if it may be written."""
    for key, base in _BASES.items():
        for name in _words(unit.get(key, "")):
            yield Path(base, name.partition(":")[0]), ""
    for name in _words(unit.get("BindPaths", "")):
        source, _, rest = name.removeprefix("-").partition(":")
        yield Path(rest.partition(":")[0] or source), ""
    for name in _words(unit.get("ReadWritePaths", "")):
        yield Path(name.lstrip("-+")), ""
    for name in _words(unit.get("ReadOnlyPaths", "")):
        yield Path(name.lstrip("-+")), "ReadOnlyPaths="
    system = unit.get("ProtectSystem", "")
    for path in _NEVER_PROTECTED:
        yield Path(path), ""
    for path in _PROTECTED.get(system, ()):
        yield Path(path), f"ProtectSystem={system}"
    if unit.get("ProtectHome") == "read-only":
        for path in _HOMES:
            yield Path(path), "ProtectHome=read-only"


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # a quotation mark in a name
        return value.split()
