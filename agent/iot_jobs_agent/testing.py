"""pytest plug-in for handler authors: `jobs_simulator`, `jobs_agent`, and `assert_handler_conforms`.

pytest imports this wherever the package is installed, so it imports next to nothing, and does nothing unless asked.
The agent, the simulator and the conformance kit run as processes of their own. Nothing of them is imported here, which
also keeps their coverage measurements complete.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

__all__ = ["JobRecord", "JobsAgent", "JobsSimulator", "assert_handler_conforms", "jobs_agent", "jobs_simulator"]

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "REJECTED", "TIMED_OUT", "REMOVED", "CANCELED"})
# -P: a module in the author's working directory must not shadow one of Python's or of a library.
PYTHON = (sys.executable, "-P", "-m")
POLL_S = 0.05
LOG_BYTES = 4096


@dataclass(frozen=True, slots=True)
class JobsSimulator:
    """AWS IoT Jobs, simulated here. `iot` and `jobs_data` are boto3 clients for the operator's and the device's API."""

    http_url: str
    mqtt_port: int
    mqtts_port: int
    https_port: int
    certificates: Path
    iot: Any = field(repr=False)
    jobs_data: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job execution in the service's record: `details` are its status details, `execution` is what boto3 shows."""

    job_id: str
    status: str
    details: Mapping[str, str]
    execution: Mapping[str, Any] = field(repr=False)


class JobsAgent:
    """A real agent, connected to the simulator as the thing `thing_name`. All its files are in `directory`."""

    def __init__(
        self, simulator: JobsSimulator, directory: Path, thing_arn: str, process: "subprocess.Popen[str]"
    ) -> None:
        self.simulator = simulator
        self.directory = directory
        self.thing_arn = thing_arn
        self.thing_name = thing_arn.rpartition("/")[2]
        self.process = process
        self._jobs = 0

    def run(self, document: Mapping[str, Any], *, within_s: float = 30.0) -> JobRecord:
        """Create a job with this document and wait until it has ended. Fails the test after `within_s` seconds."""
        self._jobs += 1
        job_id = f"{self.thing_name}-{self._jobs}"
        self.simulator.iot.create_job(jobId=job_id, targets=[self.thing_arn], document=json.dumps(document))
        deadline = time.monotonic() + within_s
        status = "not there yet"
        while status not in TERMINAL:
            if self.process.poll() is not None:
                pytest.fail(f"the agent ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                pytest.fail(f"{job_id} is {status} after {within_s:g} s:\n{self.log()}")
            threading.Event().wait(POLL_S)
            execution = self._execution(job_id)
            status = execution.get("status", status)
        return JobRecord(job_id, status, execution.get("statusDetails", {}).get("detailsMap", {}), execution)

    def log(self) -> str:
        """Return the end of the agent's log."""
        return (self.directory / "agent.log").read_text()[-LOG_BYTES:]

    def _execution(self, job_id: str) -> dict[str, Any]:
        iot = self.simulator.iot
        try:
            answer = iot.describe_job_execution(jobId=job_id, thingName=self.thing_name)
        except iot.exceptions.ResourceNotFoundException:
            return {}  # the service has not rolled it out yet
        found: dict[str, Any] = answer["execution"]
        return found


@pytest.fixture(scope="session")
def jobs_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobsSimulator]:
    """Start a simulated AWS IoT Jobs, one process for the whole test run. Needs the extra `simulator`."""
    certificates = tmp_path_factory.mktemp("iot-jobs") / "certificates"
    with _running(
        [*PYTHON, "iot_jobs_simulator", "--certificates", str(certificates)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        with process.stdout:
            line = process.stdout.readline()
        if not line:
            pytest.fail("the simulator did not start: pip install 'iot-jobs-agent[simulator]'")
        ready = json.loads(line)
        clients = {name: _client(service, ready["http_url"]) for name, service in _SERVICES.items()}
        yield JobsSimulator(**{**ready, "certificates": Path(ready["certificates"])}, **clients)
        for client in clients.values():
            client.close()


@pytest.fixture
def jobs_agent(
    jobs_simulator: JobsSimulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., JobsAgent]]:
    """Start agents: `jobs_agent("write-file", Path("my-handler"), settings={"write-file": {"roots": [...]}})`.

    Name the handlers to enable: built-ins and installed handlers by name, executables by path. Executables are copied,
    as they would be to a device. `settings` become `[handler.NAME]` in the configuration. The agents end with the test,
    and so do their handlers.
    """
    agents: list[JobsAgent] = []
    with _end_on_exit(agents):

        def make(*handlers: str | Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> JobsAgent:
            directory = tmp_path_factory.mktemp("iot-jobs-agent")
            thing_arn = jobs_simulator.iot.create_thing(thingName=directory.name)["thingArn"]
            config = _write_config(jobs_simulator, directory, handlers, settings or {})
            with (directory / "agent.log").open("w") as log:
                process = subprocess.Popen(
                    [*PYTHON, "iot_jobs_agent", "run", "--config", str(config)], stderr=log, text=True
                )
            agents.append(JobsAgent(jobs_simulator, directory, thing_arn, process))
            return agents[-1]

        yield make


def assert_handler_conforms(
    handler: object, params: Mapping[str, Any], *, settings: Mapping[str, Any] | None = None
) -> None:
    """Run a handler in many ways, some of them hostile. AssertionError with a line for each case that it gets wrong.

    `handler` is a name, a path, `module:attribute`, or a `Handler` that is a global of an importable module. It must
    succeed with `params` and `settings` (`[handler.NAME]` of a configuration) when nothing disturbs it. It runs about
    ten times, and a few times more for each param with values close to the given one, each in an empty JOB_DIR unless
    it is resumed. So choose params whose work may happen that often, and name no files that you want to keep.
    """
    __tracebackhide__ = True
    asked, directory = _try_argument(handler)
    name = _name(handler, asked)
    with _scratch() as scratch:
        config = scratch / "config.toml"
        config.write_text(_toml({"handler": {name: dict(settings)}} if settings else {}))
        done = subprocess.run(
            [*PYTHON, "iot_jobs_agent", "try", asked, "-", "--conform", "--json", "--config", str(config)],
            input=json.dumps(params),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            cwd=directory,
        )
    told = json.loads(done.stdout) if done.stdout else {"reason": f"nothing was told, exit status {done.returncode}"}
    if isinstance(told, dict):
        wrongs = [f"it cannot be run: {told['reason']}"]
    else:
        wrongs = [f"{each['case']}: {each['problem']}" for each in told if each["problem"]]
    if wrongs:
        raise AssertionError("\n".join([f"{asked} does not conform", *wrongs]))


def _try_argument(handler: object) -> tuple[str, Path | None]:
    """Return the argument for the command `try`, and the directory to run it in so that it finds the handler."""
    if isinstance(handler, Path):
        return str(handler.absolute()), None
    if isinstance(handler, str):
        return handler, None
    module = sys.modules.get(getattr(getattr(handler, "run", None), "__module__", ""))
    attribute = next((name for name, value in vars(module).items() if value is handler), "") if module else ""
    if not module or not attribute or not module.__file__:
        raise TypeError("the handler is not a global of its function's module; give it as 'module:attribute'")
    file = Path(module.__file__)
    depth = module.__name__.count(".") + (file.stem == "__init__")
    return f"{module.__name__}:{attribute}", file.absolute().parents[depth]


def _name(handler: object, asked: str) -> str:
    """Return the handler's name: the object's, the file's, or the one that was asked for."""
    if isinstance(name := getattr(handler, "name", None), str) and not isinstance(handler, Path):
        return name
    return Path(asked).name.removesuffix(".sh")


_SERVICES = {"iot": "iot", "jobs_data": "iot-jobs-data"}


def _client(service: str, url: str) -> Any:
    import boto3  # noqa: PLC0415 - heavy, and only some tests need it

    return boto3.client(
        service,
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 - the simulator does not check it
    )


def _write_config(
    simulator: JobsSimulator,
    directory: Path,
    handlers: Sequence[str | Path],
    settings: Mapping[str, Mapping[str, Any]],
) -> Path:
    installed = directory / "handlers"
    installed.mkdir(mode=0o755)
    enabled = []
    for handler in handlers:
        path = Path(handler)
        if isinstance(handler, Path) or os.sep in handler:
            shutil.copyfile(path, installed / path.name)
            (installed / path.name).chmod(0o755)
        enabled.append(path.name.removesuffix(".sh"))
    config = directory / "config.toml"
    sections = {
        "aws": {
            "endpoint": "localhost",
            "port": simulator.mqtts_port,
            "https_port": simulator.https_port,
            "thing_name": directory.name,
            "certificate": str(simulator.certificates / "client.pem"),
            "private_key": str(simulator.certificates / "client.key"),
            "root_ca": str(simulator.certificates / "ca.pem"),
        },
        "agent": {"state_directory": str(directory / "state"), "progress_interval_s": 0.1},
        "handlers": {"enabled": enabled, "directories": [str(installed)]},
        "handler": {name: dict(section) for name, section in settings.items()},
    }
    config.write_text(_toml(sections))
    return config


def _toml(table: Mapping[str, Any]) -> str:
    return "".join(f"{json.dumps(key)} = {_toml_value(value)}\n" for key, value in table.items())


def _toml_value(value: Any) -> str:
    """Write any JSON value but null as TOML. A JSON string is a TOML string too, as long as it is not ASCII-escaped."""
    match value:
        case Mapping():
            members = (f"{json.dumps(key, ensure_ascii=False)} = {_toml_value(each)}" for key, each in value.items())
            return f"{{{', '.join(members)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_toml_value, value))}]"
        case Path():
            return json.dumps(str(value), ensure_ascii=False)
        case _:
            return json.dumps(value, ensure_ascii=False)


@contextmanager
def _scratch() -> Iterator[Path]:
    import tempfile  # noqa: PLC0415 - only some tests need it

    with tempfile.TemporaryDirectory(prefix="iot-jobs-") as scratch:
        yield Path(scratch)


@contextmanager
def _running(command: Sequence[str], *, stdout: int | IO[str] | None = None) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(command, stdout=stdout, text=True)
    try:
        yield process
    finally:
        _end(process)


@contextmanager
def _end_on_exit(agents: list[JobsAgent]) -> Iterator[None]:
    """End the agents, then the handlers that would otherwise outlive them."""
    try:
        yield
    finally:
        for agent in agents:
            _end(agent.process)
            for lock in (agent.directory / "state" / "attempts").glob("*/lock"):
                _end_attempt(lock)


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_attempt(lock: Path) -> None:
    """Tell a shim that still holds its lock to stop its handler, and wait until it has."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with suppress(ValueError, ProcessLookupError):
                os.kill(int(file.read().split()[0]), signal.SIGTERM)
                fcntl.flock(file, fcntl.LOCK_SH)
