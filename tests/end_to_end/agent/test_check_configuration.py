"""Matrix of faults, configuration: `check` says each in one sentence, and `run` ends with the same one and with 78."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agents import Device
from check_faults import CONFIG_ERROR, Bench, Row, bench_of, rows, said_by_check, said_by_run

from iot_jobs_simulator.server import RunningSimulator


@pytest.fixture
def bench(device: Device, sim: RunningSimulator, thing: str) -> Iterator[Bench]:
    with bench_of(device, sim) as made:
        yield made


def has(section: str, **keys: Any) -> Callable[[Bench], object]:
    """A table has these keys besides, or instead."""
    return lambda bench: bench.device.sections.setdefault(section, {}).update(keys)


def lacks(section: str, key: str) -> Callable[[Bench], object]:
    return lambda bench: bench.device.sections[section].pop(key)


def is_text(text: str) -> Callable[[Bench], object]:
    """The whole file is something else."""

    def make(bench: Bench) -> None:
        bench.text = text

    return make


def namespace_for(handler: str) -> Callable[[Bench], object]:
    return lambda bench: bench.device.namespaces.append({"id": "team-a", "handler": handler})


def config_row(name: str, make: Callable[[Bench], object], said: str) -> Row:
    return Row(name, make, said, CONFIG_ERROR)


ROWS = [
    config_row(
        "a misspelt key", has("aws", thing_nmae="x"), "aws.thing_nmae: is not a known key. Did you mean thing_name?"
    ),
    config_row("a misspelt table", has("agnet", only="x"), "agnet: is not a known key. Did you mean agent?"),
    config_row(
        "a misspelt setting of a handler",
        has("handler.run-command", program=["/bin/echo"]),
        "handler.run-command.program: is not a setting of run-command. Did you mean programs?",
    ),
    config_row(
        "a misspelt handler",
        has("handlers", enabled=["run_command"]),
        "handlers.enabled[0]: run_command is not there. Did you mean run-command?",
    ),
    config_row(
        "a key is missing",
        lacks("aws", "endpoint"),
        "aws.endpoint: is missing; add it (config.example.toml shows it).",
    ),
    config_row(
        "not a text", has("aws", thing_name=5), 'aws.thing_name: is not text; write it in quotation marks, like "…".'
    ),
    config_row(
        "not a list",
        has("handlers", enabled="run-command"),
        'handlers.enabled: is not a list; write it in brackets, like enabled = ["…"].',
    ),
    config_row(
        "a number out of its limits",
        has("aws", port=70000),
        "aws.port: is not valid; it should be less than or equal to 65535.",
    ),
    config_row(
        "an endpoint with scheme and port",
        has("aws", endpoint="https://localhost:8883"),
        "aws.endpoint: is not a host name; give the endpointAddress that `aws iot describe-endpoint",
    ),
    config_row(
        "no TLS on the way to somebody else",
        has("aws", tls=False, endpoint="iot.example"),
        "aws.tls: may be false for a loopback endpoint only; remove it, or set aws.endpoint to localhost.",
    ),
    config_row(
        "a variable of systemd without systemd",
        has("aws", root_ca="${CREDENTIALS_DIRECTORY}/root-ca.pem"),
        "aws.root_ca: uses ${{CREDENTIALS_DIRECTORY}}, which systemd sets for the service only; for a command, set",
    ),
    config_row(
        "a namespace for a handler that is not enabled",
        namespace_for("copy"),
        "namespaces[0].handler: copy is not enabled; add it to handlers.enabled.",
    ),
    config_row(
        "a root in which the configuration lies",
        lambda bench: has("handler.write-file", roots=[str(bench.device.directory)])(bench),
        "handler.write-file.roots: {directory} overlaps the configuration ({directory}/config.toml); choose a",
    ),
    config_row("no TOML", is_text("[aws\n"), "--config: {directory}/config.toml is not valid TOML ("),
    config_row(
        "a file that others may change",
        lambda bench: bench.device.directory.chmod(0o777),
        "--config: {directory} is writable by others (mode 0777); run `chmod go-w {directory}`.",
    ),
]


def test_the_matrix_has_the_faults_of_configuration_that_were_promised() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 9


@rows(ROWS)
async def test_field_f9_check_says_what_is_wrong_with_the_configuration(bench: Bench, row: Row) -> None:
    await said_by_check(bench, row)


@rows(ROWS, by_run=True)
async def test_field_f9_run_ends_with_the_same_sentence_and_78(bench: Bench, row: Row, start_agent: Any) -> None:
    await said_by_run(bench, row, start_agent)
