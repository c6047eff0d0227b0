"""What a taken-over agent could have a user's unit do: nothing that no document could ask for."""

import json
import os
import pwd
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from iot_jobs_agent.shim import bus

if TYPE_CHECKING:
    from tests.support.buses import Systemd

ME = pwd.getpwuid(os.getuid()).pw_name
INSTANCE = "0123456789abcdef01234567"
UNIT = f"iot-job-as-{ME}@{INSTANCE}.service"
SCRIPT = "#!/bin/sh\ncat; ls -A; echo $(ls /proc/self/fd); env\n"


class Forger:
    """An agent in somebody's hands: it starts the unit and hands over what it likes."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.settimeout(20.0)
        self.listener.bind(f"{place}/sockets/{INSTANCE}")
        (place / "sockets" / INSTANCE).chmod(0o666)
        self.listener.listen()

    def asks(self, argv: list[str], *, kind: str = "command", handler: str = "who") -> tuple[dict[str, Any], str]:
        """Return what the first process says at last, and what was printed."""
        spec = {"argv": argv, "kind": kind, "handler": handler, "env": {"JOB_ID": "job-1", "BASH_ENV": "/tmp/x"}}
        spec |= {"quota_mb": 1, "quota_every_s": 5.0, "job": "forged", "settings": "forged", "home": "/forged"}
        texts = {"spec": json.dumps(spec), "job": "forged", "settings": "forged", "checkpoint": "forged", "0": "forged"}
        with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as other:
            files = {name: of(text) for name, text in texts.items()}
            given = files | {"1": printed, "2": printed, "3": other}
            bus.start_unit(UNIT)
            with closing(self.listener.accept()[0]) as entry:
                entry.settimeout(20.0)
                names = json.dumps({"names": list(given)}).encode()
                socket.send_fds(entry, [names], [file.fileno() for file in given.values()])
                said: dict[str, Any] = {}
                while not {"status", "cannot_start"} & said.keys():
                    said = json.loads(entry.recv(1 << 18))
            for file in files.values():
                file.close()
            printed.seek(0)
            return said, printed.read().decode()


def of(text: str) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(text.encode())
    file.flush()
    return file


@pytest.fixture
def forger(systemd: "Systemd") -> Iterator[Forger]:
    place = systemd.place
    (place / "who.sh").write_text(SCRIPT)
    (place / "who.sh").chmod(0o755)
    (place / "config.toml").write_text(
        f'[handlers]\nlauncher = "units"\nenabled = ["who", "run-command"]\ndirectories = ["{place}"]\n'
        f'run_as_users = ["{ME}"]\n[handler.run-command]\nprograms = ["/bin/echo"]\n'
    )
    systemd.behave(profiles={f"as-{ME}": f"{place}/config.toml"})
    made = Forger(place)
    yield made
    made.listener.close()


def test_a_script_has_the_input_of_a_document_and_no_descriptor_but_its_own(forger: Forger) -> None:
    said, printed = forger.asks([f"{forger.place}/who.sh", ME, "x"])
    assert said["status"] == 0
    assert printed.startswith("{}.tmp\n0 1 2 3\n"), printed  # 3 is that of the directory which was listed
    environment = dict(line.split("=", 1) for line in printed.splitlines()[2:] if "=" in line)
    assert environment["HOME"] == pwd.getpwnam(ME).pw_dir
    assert "BASH_ENV" not in environment
    assert (forger.place / "home" / INSTANCE / "checkpoint.json").exists() is False


@pytest.mark.parametrize(
    ("handler", "argv", "kind"),
    [
        ("who", ["/bin/sh", "-c", "id"], "command"),
        ("who", ["/bin/sh", "-c", "id"], "handler"),
        ("run-command", ["/bin/sh", "-c", "id"], "command"),
    ],
)
def test_nothing_else_is_started(forger: Forger, handler: str, argv: list[str], kind: str) -> None:
    said, printed = forger.asks(argv, kind=kind, handler=handler)
    assert "runs only what a document can ask for" in said["cannot_start"]
    assert printed == ""
