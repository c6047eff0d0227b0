"""The commands, as people run them."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agents import command, run

ROOT = Path(__file__).parents[3]
ECHO = {"operation": "run-command", "params": {"command": "echo hi"}}


async def test_run_once_handles_what_is_pending_and_exits_with_0_if_all_succeeded(
    start_agent: Any, operator: Any
) -> None:
    for number in range(3):
        await operator.create(f"job-{number}", ECHO)
    agent = await start_agent("--once")
    assert await agent.ended() == 0
    for number in range(3):
        assert (await operator.record(f"job-{number}"))["status"] == "SUCCEEDED"


async def test_run_once_exits_with_1_if_one_did_not(start_agent: Any, operator: Any) -> None:
    await operator.create("good", ECHO)
    await operator.create("bad", {"operation": "unheard-of"})
    agent = await start_agent("--once")
    assert await agent.ended() == 1
    assert (await operator.record("good"))["status"] == "SUCCEEDED"


async def test_run_once_with_nothing_pending_exits_with_0(start_agent: Any, thing: str) -> None:
    agent = await start_agent("--once")
    assert await agent.ended() == 0


async def test_status_jobs_and_pending_tell_what_is_going_on(device: Any, start_agent: Any, operator: Any) -> None:
    device.namespaces = [{"id": "team-a"}]
    config = ("--config", str(device.config))
    agent = await start_agent()
    await operator.create("job-1", ECHO)
    await operator.create("job-2", {"operation": "unheard-of"})
    await operator.wait("job-1", "SUCCEEDED")
    await operator.wait("job-2", "REJECTED")
    await agent.says("settled", execution="job-2")
    listed = await run("jobs", *config, "--json")
    assert [(e["job_id"], e["status"], e["service_accepted"]) for e in json.loads(listed.stdout)] == [
        ("job-2", "REJECTED", True),
        ("job-1", "SUCCEEDED", True),
    ]
    assert "unheard-of" in json.loads(listed.stdout)[0]["reason"]
    kept = await run("jobs", *config, "job-1")
    assert "step 1, attempt 1: exited with code 0 after" in kept.stdout
    assert kept.stdout.endswith("--- stdout\nhi\n")
    unknown = await run("jobs", *config, "\x1b[31mjob")
    assert (unknown.returncode, "no execution of �[31mjob is among" in unknown.stderr) == (1, True)
    text = await run("jobs", *config, "--limit", "1")
    assert "job-2" in text.stdout
    assert "job-1" not in text.stdout

    shown = await run("status", *config)
    assert (shown.returncode, "running, pid" in shown.stdout) == (0, True), shown
    assert "team-a: nothing pending" in shown.stdout
    await agent.stop()
    after = await run("status", *config, "--json")
    assert after.returncode == 1
    assert json.loads(after.stdout)["is_running"] is False

    await operator.create("job-3", ECHO)
    await operator.create("job-4", ECHO, namespaceId="team-a")
    pending = await run("pending", *config)
    assert "QUEUED" in pending.stdout
    assert "job-3" in pending.stdout
    assert "job-4" not in pending.stdout
    named = await run("pending", *config, "--namespace", "team-a", "--json")
    assert [e["jobId"] for e in json.loads(named.stdout)["queuedJobs"]] == ["job-4"]


async def test_pending_says_why_there_is_no_list(device: Any, thing: str) -> None:
    device.sections["aws"]["https_port"] = 1
    answer = await run("pending", "--config", str(device.write_config()))
    assert answer.returncode == 69
    assert "https://localhost:1" in answer.stderr


async def test_check_finds_a_working_device_in_order(device: Any, thing: str) -> None:
    checked = await run("check", "--config", str(device.write_config()))
    assert checked.returncode == 0, checked
    assert "handler write-file" in checked.stdout
    assert "accepts the certificate" in checked.stdout


async def test_check_says_what_is_wrong(device: Any, thing: str) -> None:
    device.sections["handlers"]["enabled"].append("nowhere-to-be-found")
    device.sections["aws"]["port"] = 1
    checked = await run("check", "--config", str(device.write_config()))
    assert checked.returncode == 1
    assert "nowhere-to-be-found is unavailable" in checked.stdout
    assert "port 1 cannot be reached" in checked.stdout


def test_check_explains_what_the_example_still_lacks() -> None:
    checked = command("check", "--config", "config.example.toml", cwd=ROOT)
    assert checked.returncode == 78
    assert "aws.certificate" in checked.stdout
    assert "aws.private_key" in checked.stdout


async def test_check_says_which_root_is_not_there(device: Any, thing: str) -> None:
    device.files.rmdir()
    checked = await run("check", "--config", str(device.write_config()))
    assert checked.returncode == 1
    assert f"handler.write-file.roots: {device.files} is not there" in checked.stdout


async def test_check_blames_the_network_for_what_the_network_does(device: Any, thing: str) -> None:
    device.sections["aws"]["https_port"] = 1
    checked = await run("check", "--config", str(device.write_config()))
    assert "aws.https_endpoint: localhost port 1 cannot be reached" in checked.stdout


@pytest.mark.parametrize("what", ["status", "jobs"])
async def test_what_is_only_on_this_device_is_told_without_credentials(device: Any, what: str) -> None:
    for key in ("certificate", "private_key", "root_ca"):
        device.sections["aws"][key] = "${CREDENTIALS_DIRECTORY}/x.pem"
    answer = await run(what, "--config", str(device.write_config()))
    assert (answer.returncode, "has the agent run here" in answer.stderr) == (73, True), answer


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "iot_jobs_agent", "handlers", "--config", str(tmp_path / "none.toml")]
    (tmp_path / "none.toml").write_text("")
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=55, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_wrong_configuration_is_one_sentence_and_exit_status_78(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[aws]\nendpont = "x"\n')
    answer = command("run", "--config", str(config))
    assert answer.returncode == 78
    assert answer.stderr.count("\n") == 1
    assert "aws" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "usage: iot-jobs-agent COMMAND"),
        (["--help"], 0, "demo"),
        (["--version"], 0, "0.1.0"),
        (["fly"], 2, "no command 'fly'"),
        (["status", "--config", "/no/such/file"], 78, "/no/such/file"),
        (["run", "--help"], 0, "--once"),
        (["run", "--timeout", "3"], 2, "add --once"),
        (["pause", "--timeout", "3"], 2, "add --wait"),
        (["pause", "--wait", "--timeout", "nan"], 2, "must be more than 0"),
        (["jobs", "--limit", "0"], 2, "must be at least 1"),
    ],
)
def test_usage_is_told(arguments: list[str], status: int, said: str) -> None:
    answer = command(*arguments)
    assert answer.returncode == status
    assert said in answer.stdout + answer.stderr


async def test_status_before_the_first_run_says_so(device: Any) -> None:
    answer = await run("status", "--config", str(device.write_config()))
    assert answer.returncode == 73
    assert "has the agent run here" in answer.stderr


def test_the_demonstration_ends_with_every_execution_succeeded() -> None:
    shown = command("demo")
    assert shown.returncode == 0, shown
    assert "3 of 3 executions SUCCEEDED" in shown.stdout
    assert "Hello from the cloud" in shown.stdout


def test_a_demonstration_that_is_kept_is_what_it_says_and_ends_as_a_whole() -> None:
    kept = subprocess.Popen(
        [sys.executable, "-m", "iot_jobs_agent", "demo", "--keep"], stdout=subprocess.PIPE, text=True
    )
    assert kept.stdout is not None
    lines = []
    for line in kept.stdout:
        lines.append(line.strip())
        if line.startswith("To write a handler"):
            break
    [environment] = [line.removeprefix("export ") for line in lines if line.startswith("export ")]
    [config] = {line.rpartition(" ")[2] for line in lines if line.startswith("iot-jobs-agent status")}
    [create] = [line for line in lines if line.startswith("aws iot create-job")]
    bin_directory = Path(sys.executable).parent
    variables = os.environ | dict(pair.split("=", 1) for pair in environment.split())
    variables["PATH"] = f"{bin_directory}:{variables['PATH']}"
    created = subprocess.run(shlex.split(create), env=variables, capture_output=True, text=True, check=True)
    assert json.loads(created.stdout)["jobId"] == "again"
    status = json.loads(command("status", "--json", "--config", config).stdout)
    assert status["is_running"]
    kept.terminate()
    kept.communicate(timeout=15)  # it says more while it ends, and must have somebody to say it to
    assert kept.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(status["pid"], 0)
    assert not Path(config).exists()
