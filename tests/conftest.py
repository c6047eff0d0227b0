"""What tests in more than one folder need: how they are run, and a built-in handler, called in this process."""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from iot_jobs_agent.handler import Handler, HandlerError, Job, Outcome

if TYPE_CHECKING:
    from iot_jobs_agent.core.job import AttemptResult

# Hundreds of Python processes are started; compiling the same modules in each would be most of what they do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A machine that is busy is not a failure: neither what an example takes nor what making it takes is judged. A test
# whose data are large on purpose suppresses the health check for that by itself, with its reason. All of it is said,
# since what is not said comes from Hypothesis's own profile, which is another where the variable CI is set.
hypothesis.settings.register_profile("project", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("power cuts", "of tests/booted and tests/qemu")
    group.addoption("--cuts", type=int, default=3, metavar="N", help="how often power is cut at a random moment")
    group.addoption("--cut-seed", type=int, default=secrets.randbelow(1 << 32), metavar="N", help="of the moments")


def pytest_report_header(config: pytest.Config) -> str:
    return f"power cuts: --cuts {config.getoption('--cuts')} --cut-seed {config.getoption('--cut-seed')}"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Share the whole suite among twice as many workers as there are processors, since they wait a lot.

    What is named on the command line runs in this process, where `-s` and `--pdb` work.
    """
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return 2 * len(os.sched_getaffinity(0)) if is_whole else 0


@dataclass(frozen=True)
class Ended:
    """How a built-in ended, in its own words: what the agent makes of them is not its business."""

    word: str
    reason: str
    details: Mapping[str, Any]
    result: "AttemptResult | None" = None


Call = Callable[..., Ended]


@pytest.fixture
def ended() -> type[Ended]:
    return Ended


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """Call a built-in in this process, with params and settings as a job would give them."""
    (tmp_path / "job").mkdir(exist_ok=True)
    told = (tmp_path / "told").open("ab", buffering=0)

    def run(
        handler: Handler[Any],
        params: object,
        settings: object = None,
        *,
        phase: str = "run",
        reason: str = "first",
        cancelled: bool = False,
    ) -> Ended:
        (tmp_path / "settings.json").write_text(json.dumps(settings or {}))
        members = {"ID": "job-1", "PHASE": phase, "REASON": reason, "DIR": tmp_path / "job"}
        members["SETTINGS_FILE"] = tmp_path / "settings.json"
        job = Job({f"JOB_{key}": str(value) for key, value in members.items()} | {"JOB_CONTROL_FD": str(told.fileno())})
        job.cancelled = cancelled
        try:
            outcome = handler.run(handler.params.model_validate_json(json.dumps(params)), job)
        except HandlerError as error:
            outcome = Outcome.failed(str(error))
        assert isinstance(outcome, Outcome)
        return Ended(outcome.kind, outcome.reason, outcome.details)

    yield run
    told.close()


@pytest.fixture
def as_nobody() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Be another user than root for a while; that takes root. Directories below pytest's are closed to it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    @contextlib.contextmanager
    def be() -> Iterator[None]:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return be
