"""An agent whose configuration was found valid before starts without pydantic, and has the same values."""

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import write

from iot_jobs_agent import verdict
from iot_jobs_agent.config.config import LARGEST_BYTES, load
from iot_jobs_agent.config.encoding import decoded, encoded
from iot_jobs_agent.config.values import Config, HandlerTable
from iot_jobs_agent.definition import DEFINED_IN
from iot_jobs_agent.errors import ConfigError
from iot_jobs_agent.verdict import FILE, Verdict, state_directory_of_valid

EVERYTHING = """\
[[namespaces]]
id = "team-a"
handler = "write-file"
[[documents]]
handler = "write-file"
has = "image"
[operations]
install = "write-file"
[agent]
state_directory = "{state}"
max_concurrent = 4
progress_interval_s = 0
reboot_command = ["/sbin/reboot", "-f"]
[handlers]
enabled = ["write-file", "run-command", "mine"]
directories = ["/etc/iot-jobs-agent/handlers"]
run_as_users = ["kiosk"]
launcher = "units"
[handler.write-file]
roots = ["/srv/files"]
timeout_s = 60
[handler.mine]
profile = "light"
params = {{type = "object"}}
when = 2026-12-01
much = 12345678901234567890
"""


@pytest.fixture
def path(directory: Path) -> Path:
    (directory / "state").mkdir(mode=0o700)
    return write(directory, aws='proxy = "http://user:word@proxy.example:3128"', rest=rest(directory))


def rest(directory: Path) -> str:
    return EVERYTHING.format(state=directory / "state")


class Starts:
    """Starts of the agent as far as its configuration goes, and how often pydantic was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, path: Path, environ: dict[str, str] | None = None) -> Config:
        def count() -> None:
            self.asked += 1

        found = Verdict(meanwhile=count)
        config = load(path, environ or {}, found.validated)
        found.keep()
        return config


@pytest.fixture
def start() -> Starts:
    return Starts()


def test_the_second_start_does_not_ask_again_and_has_the_same_values(path: Path, start: Starts) -> None:
    first = start(path)
    assert first == load(path, {})
    assert start(path) == first
    assert start.asked == 1
    assert first.aws.proxy is not None
    assert (path.parent / "state" / FILE).stat().st_mode & 0o777 == 0o600


def test_a_process_that_starts_imports_no_pydantic_not_even_the_first_time(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from iot_jobs_agent.config.config import load\n"
        "from iot_jobs_agent.verdict import Verdict\n"
        "found = Verdict(); config = load(Path(sys.argv[1]), {}, found.validated); found.keep()\n"
        "print([name for name in sys.modules if name.startswith('pydantic')], config.agent.max_concurrent)"
    )
    for _ in range(2):
        ran = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
        assert ran.stdout == "[] 4\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text(path.read_text() + "# another comment\n"),
        lambda path: (path.parent / "state" / FILE).unlink(),
        lambda path: (path.parent / "state" / FILE).chmod(0o640),
        lambda path: (path.parent / "state" / FILE).write_bytes(b""),
        lambda path: (path.parent / "state" / FILE).write_bytes(b"\xff\n{}"),
    ],
    ids=["another text", "removed", "open to the group", "empty", "no text"],
)
def test_what_is_not_known_for_sure_is_asked_again(path: Path, start: Starts, change: Any) -> None:
    first = start(path)
    change(path)
    assert start(path) == first
    assert start.asked == 2
    assert start(path) == first
    assert start.asked == 2


def test_another_definition_of_valid_is_asked_again(path: Path, start: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    start(path)
    monkeypatch.setattr(verdict, "definition_hash", lambda: "another")
    start(path)
    assert start.asked == 2


def test_another_directory_of_credentials_is_asked_again(directory: Path, path: Path, start: Starts) -> None:
    names = {"certificate": "certificate.pem", "private_key": "private.key", "root_ca": "root-ca.pem"}
    lines = "\n".join(f'{key} = "${{CREDENTIALS_DIRECTORY}}/{name}"' for key, name in names.items())
    write(directory, aws=lines, rest=rest(directory))
    other = directory / "other"
    other.mkdir()
    for name in names.values():
        (other / name).write_bytes((directory / name).read_bytes())
        (other / name).chmod(0o600)
    for place in (directory, other, other):
        config = start(path, {"CREDENTIALS_DIRECTORY": str(place)})
        assert config.aws.certificate == place / "certificate.pem"
    assert start.asked == 2


def test_a_verdict_with_any_damaged_byte_is_not_believed(path: Path, start: Starts) -> None:
    first = start(path)
    file = path.parent / "state" / FILE
    good = file.read_bytes()
    for place in range(0, len(good), 97):
        bad = bytearray(good)
        bad[place] ^= 1
        file.write_bytes(bad)
        assert Verdict()._kept(path.parent / "state") is None
    file.write_bytes(good[:-1])
    assert start(path) == first
    assert start.asked == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_verdict_of_another_user_is_not_believed(path: Path, start: Starts) -> None:
    start(path)
    os.chown(path.parent / "state" / FILE, 12345, -1)
    assert state_directory_of_valid(path) is None
    os.chown(path.parent / "state", 12345, -1)
    assert state_directory_of_valid(path) == path.parent / "state", "but a command may see that the file is valid"
    start(path)
    assert start.asked == 2


def test_a_link_in_the_place_of_a_verdict_is_not_followed(path: Path, start: Starts) -> None:
    start(path)
    file = path.parent / "state" / FILE
    file.rename(path.parent / "elsewhere")
    file.symlink_to(path.parent / "elsewhere")
    start(path)
    assert start.asked == 2
    assert not file.is_symlink()


def test_what_depends_on_other_files_is_checked_at_each_start(path: Path, start: Starts) -> None:
    start(path)
    (path.parent / "certificate.pem").unlink()
    with pytest.raises(ConfigError, match=r"aws.certificate: .* does not exist"):
        start(path)
    assert start.asked == 1


@pytest.mark.parametrize(
    "lines", ["[agent]\nmax_concurrent = 99", "[handler.mine]\ntimeout_s = -1", "[handler.mine]\nname = 'x'", "[agent"]
)
def test_a_problem_has_the_same_words_and_is_not_remembered(directory: Path, start: Starts, lines: str) -> None:
    path = write(directory, rest=lines)
    with pytest.raises(ConfigError) as expected:
        load(path, {})
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            start(path)
        assert str(caught.value) == str(expected.value)
    assert list(directory.glob(f"**/{FILE}")) == []


def test_what_json_cannot_carry_is_asked_each_time(directory: Path, start: Starts) -> None:
    (directory / "state").mkdir(mode=0o700)
    rest = f'[agent]\nstate_directory = "{directory}/state"\n[handler.mine]\nparams = {{since = 2026-12-01}}\n'
    path = write(directory, rest=rest)
    for _ in range(2):
        assert start(path).handler["mine"].overrides["params"] == {"since": dt.date(2026, 12, 1)}
    assert start.asked == 2


def test_what_json_cannot_carry_leaves_no_earlier_values_behind(path: Path, start: Starts) -> None:
    start(path)
    file = path.parent / "state" / FILE
    assert "http://user:word@" in file.read_text()
    path.write_text(path.read_text().replace("user:word@", "").replace('type = "object"', "since = 2026-12-01"))
    start(path)
    assert not file.exists()


def test_what_is_nested_too_deeply_is_nothing_that_json_can_carry(path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(sys.getrecursionlimit()):
        deep = {"a": deep}
    config = load(path, {})._replace(handler={"mine": HandlerTable(settings=deep)})
    with pytest.raises(ValueError, match="recursion"):
        encoded(config)


def test_a_state_directory_that_cannot_be_written_costs_only_time(path: Path, start: Starts) -> None:
    (path.parent / "state").rmdir()
    assert start(path) == start(path)
    assert start.asked == 2


def test_a_child_that_says_nothing_costs_only_time(path: Path, start: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError

    monkeypatch.setattr(verdict, "encoded", fail)
    assert start(path) == load(path, {})


def test_no_room_for_a_child_costs_only_time(path: Path, start: Starts, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise BlockingIOError

    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number counts
    monkeypatch.setattr(os, "fork", fail)
    assert start(path) == load(path, {})
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208 - as above


def test_a_command_learns_from_a_verdict_that_the_file_is_valid_and_reads_the_directory_itself(
    path: Path, start: Starts
) -> None:
    assert state_directory_of_valid(path) is None
    start(path, {"CREDENTIALS_DIRECTORY": "/run/credentials"})
    assert state_directory_of_valid(path) == path.parent / "state"
    good = path.read_text()
    path.write_text(good + "[surprise]\n")
    assert state_directory_of_valid(path) is None
    path.write_text(good.replace("/state", "/elsewhere"))
    assert state_directory_of_valid(path) is None


def test_a_command_reads_no_more_of_a_file_than_the_agent(path: Path, start: Starts) -> None:
    path.write_text(path.read_text() + "#" * 2 * LARGEST_BYTES)
    start(path)
    assert state_directory_of_valid(path) == path.parent / "state"


def test_all_of_our_modules_that_decide_about_validity_are_part_of_the_definition() -> None:
    code = (
        "import json, sys, iot_jobs_agent.config.validation, iot_jobs_agent.catalog.manifest_check\n"
        "print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.startswith('iot_jobs_agent')]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    root = Path(verdict.__file__).parent
    used = {str(Path(file).relative_to(root)) for file in json.loads(ran.stdout) if not file.endswith("__init__.py")}
    assert used <= set(DEFINED_IN)
    assert all((root / name).is_file() for name in DEFINED_IN)


def test_values_survive_being_json(path: Path) -> None:
    config = load(path, {})
    again = decoded(json.loads(json.dumps(encoded(config))))
    assert again == config
    assert repr(again) == repr(config), "and their types are the same"
