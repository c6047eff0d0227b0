"""A name server that never answers: `check` and `run` say so, and neither waits for it longer than it has to.

It takes root: the name server is in a resolv.conf of its own, in a mount namespace.
"""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from tests.support.configs import toml_of
from tests.support.credentials import NAMES, new_pair

ADDRESS = "127.0.0.153"
LONGEST_S = 15  # two name servers that do not answer take the C library 20 s
SAID = "aws.endpoint: broker.example port 8883 cannot be reached (no name server answers); check the name, the port"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    authority = trustme.CA()
    pair = new_pair(authority)
    contents = (pair.certificate, pair.private_key, authority.cert_pem.bytes())
    for name, content in zip(NAMES.values(), contents, strict=True):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    files = {key: str(tmp_path / name) for key, name in NAMES.items()}
    aws = {"endpoint": "broker.example", "thing_name": "pi-kitchen-1", **files}
    agent = {"state_directory": str(tmp_path / "state"), "log_format": "json"}
    path = tmp_path / "config.toml"
    path.write_text(toml_of({"aws": aws, "agent": agent, "handlers": {"enabled": ["write-file"]}}))
    return path


@pytest.fixture
def prefix(tmp_path: Path) -> Iterator[list[str]]:
    """What starts a command with two name servers, which take questions and keep silent."""
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"nameserver {ADDRESS}\nnameserver {ADDRESS}\n")
    script = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((ADDRESS, 53))
        yield ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", sys.executable]


def test_field_f3_check_says_that_no_name_server_answers_and_does_not_wait_for_it(
    config: Path, prefix: list[str]
) -> None:
    command = [*prefix, "-m", "iot_jobs_agent", "check", "--config", str(config)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    assert (checked.returncode, checked.stderr) == (1, ""), checked
    assert f"wrong  {SAID}" in checked.stdout


def test_field_f3_run_says_it_too_and_a_stop_does_not_wait_for_a_name_server(config: Path, prefix: list[str]) -> None:
    command = [*prefix, "-m", "iot_jobs_agent", "run", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        for line in agent.stderr:
            if SAID in json.loads(line).get("hint", ""):
                break
        else:
            pytest.fail("the agent ended without saying it")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(LONGEST_S) == 0
