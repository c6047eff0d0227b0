"""`iot-jobs-agent setup`: makes the device the one thing that it is to AWS IoT, and starts the agent.

Nothing is changed before all of it has been found good. What is there already stays, unless `--force` is given.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import printable
from iot_jobs_agent.config.config import load, load_handlers, problems
from iot_jobs_agent.config.credentials import credentials_beside
from iot_jobs_agent.config.writing import CREDENTIALS, Value, aws_values, first_configuration, with_values
from iot_jobs_agent.errors import AgentError, ConfigError
from iot_jobs_agent.profiles import are_installed
from iot_jobs_agent.state.durable import replace_durably
from iot_jobs_agent.trust import trust_problem

UNIT = "iot-jobs-agent.service"
SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
WORDS = {
    "endpoint": "the endpoint (`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints it)",
    "thing_name": "the name of the thing",
    "certificate": "the file with the certificate",
    "private_key": "the file with its private key",
    "root_ca": "the file with Amazon's root certificate",
}
OPTIONS = {"thing_name": "--thing"} | {key: f"--{key.replace('_', '-')}" for key in WORDS if key != "thing_name"}


class SetupError(AgentError):
    """Nothing was changed. The message says what is missing or in the way, and what to do."""


class Replacement(NamedTuple):
    """A file's new contents, and where they come from: for what people are told."""

    data: bytes
    source: Path | None


def main(arguments: Sequence[str]) -> int:
    """Ask for what is missing, write it, check it, start the agent. Return 0, or what `check` returned.

    Raises:
        SetupError: something is missing or in the way.
        ConfigError: what was given cannot be used.
    """
    chosen = parser().parse_args(arguments)
    config: Path = chosen.config
    if os.geteuid() != 0:
        raise SetupError("the configuration and the credentials are root's: run `sudo iot-jobs-agent setup`")
    if not config.parent.is_dir():
        raise SetupError(f"{config.parent} is not there: install the package, or make it (docs/install.md)")
    directory = credentials_beside(config)
    if problem := _place_problem(config, directory):
        raise SetupError(f"{problem}. Nothing was changed.")
    replacements = {
        **dict(_credentials(chosen, directory)),
        **dict(_configuration(chosen, config)),
    }
    group = _judge(replacements, config, directory)
    _write(replacements, config, directory, group)
    words = ["check", "--config", str(config), *(["--offline"] if chosen.offline else [])]
    status = subprocess.run([sys.executable, "-I", "-m", "iot_jobs_agent", *words], check=False).returncode
    if status != 0:
        again = "`iot-jobs-agent setup` again; what was written is kept"
        print(f"\nThe agent was not started: put right what is wrong above, and then run {again}.")
        return status
    if not chosen.no_start:
        _start()
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("setup")
    options.add_config(made)
    made.add_argument("--endpoint", metavar="HOST", help=f"{WORDS['endpoint'].replace('`', '')}")
    made.add_argument("--thing", dest="thing_name", metavar="NAME", help=WORDS["thing_name"])
    for key in CREDENTIALS:
        made.add_argument(OPTIONS[key], type=Path, metavar="FILE", help=f"{WORDS[key]}; it is copied")
    made.add_argument("--port", type=int, metavar="N", help="for MQTT; default: 8883, or as configured; 443 works too")
    made.add_argument("--https-port", type=int, metavar="N", help="default: 8443, or as configured; 443 works too")
    made.add_argument("--force", action="store_true", help="replace what is there and differs")
    made.add_argument("--offline", action="store_true", help="do not try to reach AWS")
    made.add_argument("--no-start", action="store_true", help="only write and check, as for an image")
    return made


def _place_problem(config: Path, directory: Path) -> str:
    """Return why the private key must not be written there, "" if it may."""
    if directory.is_symlink() or (os.path.lexists(directory) and not directory.is_dir()):
        return f"{directory} is not a directory of its own: move it away, setup makes one that only root can enter"
    places = [path for path in (config.parent, directory) if path.exists()]
    return next((problem for path in places if (problem := trust_problem(path, owners=frozenset({0})))), "")


def _credentials(chosen: argparse.Namespace, directory: Path) -> Iterator[tuple[Path, Replacement]]:
    """Tell which of the three files to write. Raises SetupError."""
    for key, name in CREDENTIALS.items():
        target = directory / name
        if getattr(chosen, key) is None and target.exists():
            continue
        source = Path(_given(chosen, key))
        try:
            data = source.read_bytes()
            old = target.read_bytes() if target.exists() else None
        except OSError as error:
            reason = (error.strerror or "unreadable").lower()
            raise SetupError(f"{error.filename} cannot be read ({reason}): correct {OPTIONS[key]}") from None
        if old is not None and old != data and not chosen.force:
            raise SetupError(f"{target} is there already and is not {source}: add --force to replace it")
        if old != data:
            yield target, Replacement(data, source)


def _configuration(chosen: argparse.Namespace, config: Path) -> Iterator[tuple[Path, Replacement]]:
    """Tell what to write into the configuration, if it is not so already. Raises SetupError, ConfigError."""
    given = {key: getattr(chosen, key) for key in ("endpoint", "thing_name", "port", "https_port")}
    values: dict[str, Value] = {key: value for key, value in given.items() if value is not None}
    if not config.exists():
        values |= {key: _given(chosen, key) for key in ("endpoint", "thing_name")}
        for key, value in values.items():
            if not str(value).isprintable() or not str(value).isascii():
                raise SetupError(f"{OPTIONS.get(key, key)} holds a character that no such name has: correct it")
        yield config, Replacement(first_configuration(values, has_units=are_installed()).encode(), None)
        return
    try:
        text = config.read_text()
        old = aws_values(text)
        different = {key: value for key, value in values.items() if old.get(key) != value}
        changed = with_values(text, different) if different else text
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config} cannot be changed: {error}; edit it, or move it away") from None
    if different and not chosen.force:
        key = next(iter(different))
        raise SetupError(f"{config} is there already, with another {key}: add --force to change {', '.join(different)}")
    if different:
        yield config, Replacement(changed.encode(), None)


def _given(chosen: argparse.Namespace, key: str) -> str:
    """Return what was given for a key, or ask a person for it. Raises SetupError."""
    if (value := getattr(chosen, key)) is not None:
        return str(value)
    if not sys.stdin.isatty():
        raise SetupError(f"{WORDS[key].replace('`', '')} is missing: add {OPTIONS[key]}, or run setup on a terminal")
    try:
        answer = input(f"{WORDS[key].replace('`', '')}: ").strip()
    except EOFError:
        answer = ""
    if not answer:
        raise SetupError(f"{WORDS[key].replace('`', '')} is needed: run setup again, or add {OPTIONS[key]}")
    return answer


def _judge(replacements: dict[Path, Replacement], config: Path, directory: Path) -> int:
    """Judge everything as it would be, in a place of its own. Return the group that must read the configuration.

    Raises:
        ConfigError: something is wrong, and nothing was changed.
    """
    from iot_jobs_agent.aws.tls import credentials_problem  # noqa: PLC0415 - the SDK is slow to import

    with _staged(replacements, config, directory) as stage:
        staged = stage / config.name
        found = problems(staged, {})
        if not found and (problem := credentials_problem(load(staged, {}).aws)):
            found = [f"{problem}."]
        if found:
            said = found[0]
            for target, replacement in replacements.items():
                there = staged if target == config else credentials_beside(staged) / target.name
                said = said.replace(str(there), str(replacement.source or target))
            said = said.replace(str(credentials_beside(staged)), str(directory)).replace(str(stage), str(config.parent))
            raise ConfigError(f"{said} Nothing was changed.")
        return _agents_group(staged)


@contextmanager
def _staged(replacements: dict[Path, Replacement], config: Path, directory: Path) -> Iterator[Path]:
    """Lay out, for a while, the files as they would be, where only root can look."""
    stage = Path(tempfile.mkdtemp(prefix=".setup-", dir=config.parent))
    try:
        credentials_beside(stage / config.name).mkdir()
        for target in (config, *(directory / name for name in CREDENTIALS.values())):
            beside = stage if target == config else credentials_beside(stage / config.name)
            data = replacements[target].data if target in replacements else target.read_bytes()
            replace_durably(beside / target.name, data)
        yield stage
    finally:
        shutil.rmtree(stage)


def _write(replacements: dict[Path, Replacement], config: Path, directory: Path, group: int) -> None:
    """Replace the files, the configuration last, and say of each what became of it."""
    directory.mkdir(mode=0o700, exist_ok=True)
    for target in (*(directory / name for name in CREDENTIALS.values()), config):
        if target in replacements:
            readable_by = group if target == config else None
            replace_durably(target, replacements[target].data, readable_by=readable_by)
        print(f"{'wrote' if target in replacements else 'kept '}  {target}")
    key = replacements.get(directory / CREDENTIALS["private_key"])
    if key and key.source:
        print(f"note   delete {printable(str(key.source))} and all other copies of the private key")
    sys.stdout.flush()


def _agents_group(config: Path) -> int:
    """Return the group that may read the configuration: that of the state directory, which is the agent's."""
    try:
        return load_handlers(config).agent.state_directory.stat().st_gid
    except OSError:
        return 0


def _start() -> None:
    """Enable the unit and start it again, with what is there now: handlers go on meanwhile. Raises SetupError."""
    if not SYSTEMD_RUNS.is_dir():
        _systemctl("enable", "--quiet", UNIT)
        print("\nThe agent will start with the device.")
        return
    _systemctl("enable", "--quiet", UNIT)
    _systemctl("restart", UNIT)
    print("\nThe agent runs: `sudo iot-jobs-agent status`")


def _systemctl(*words: str) -> None:
    try:
        done = subprocess.run(["/usr/bin/systemctl", *words], check=False, capture_output=True, text=True)
    except OSError as error:
        raise SetupError(f"systemctl cannot be run ({(error.strerror or 'unknown').lower()}): add --no-start") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        raise SetupError(f"`systemctl {' '.join(words)}` failed: {said}. `journalctl --unit {UNIT}` says more.")
