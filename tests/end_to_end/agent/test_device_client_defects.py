"""Defects of AWS's own agent, the AWS IoT Device Client, that this one must not have.

docs/device-client-compatibility.md tells people of them. Each with its kind of document, a script, the real agent and
the service's record. What is elsewhere: its unit runs as root, without restart, watchdog and hardening
(tests/device/test_unit.py).
"""

import json
import platform
from typing import Any

import pytest

CANARY = "canary-91c7"
URL = f"https://b.s3.amazonaws.com/i?X-Amz-Signature={CANARY}&X-Amz-Security-Token={CANARY}"


def action(handler: str, *args: str, **members: Any) -> dict[str, Any]:
    given = {"handler": f"{handler}.sh", "args": list(args), "path": "default"}
    return {"action": {"name": handler, "type": "runHandler", "input": given, **members}}


def document(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"version": "1.0", "steps": list(steps), **members}


def command(text: str, **members: Any) -> dict[str, Any]:
    return document({"action": {"name": "Run", "type": "runCommand", "input": {"command": text}, **members}})


@pytest.fixture
def ends(device: Any, operator: Any) -> Any:
    """Create the job and return the service's record of it, once it has the status."""

    async def run(job_id: str, status: str, job_document: Any) -> dict[str, Any]:
        await operator.create(job_id, job_document)
        return await operator.wait(job_id, status)

    return run


async def test_a_script_killed_by_a_signal_is_not_reported_succeeded(device: Any, start_agent: Any, ends: Any) -> None:
    device.add_handler("die.sh", '#!/bin/sh\nulimit -c 0\nkill -"$2" $$\n')
    await start_agent()
    for number, name in ((9, "KILL"), (11, "SEGV")):
        record = await ends(name, "FAILED", document(action("die", name)))
        assert record["details"]["reason"] == f"killed by signal {number} (SIG{name})"


async def test_exit_codes_are_said_as_they_are_and_not_as_signals(device: Any, start_agent: Any, ends: Any) -> None:
    device.add_handler("leave.sh", '#!/bin/sh\nexit "$2"\n')
    await start_agent()
    for code in ("3", "127"):
        record = await ends(f"exit-{code}", "FAILED", document(action("leave", code)))
        assert record["details"]["reason"] == f"exited with code {code}"


async def test_more_than_1000_lines_of_output_do_not_kill_the_script(device: Any, start_agent: Any, ends: Any) -> None:
    ledger = device.directory / "ledger"
    device.add_handler("talk.sh", f"#!/bin/sh\nset -e\nseq 50000\nseq 50000 >&2\necho end >> {ledger}\n")
    await start_agent()
    record = await ends("job-1", "SUCCEEDED", document(action("talk")))
    assert ledger.read_text() == "end\n"
    for output in ("stdout", "stderr"):
        assert record["details"][output].endswith(" 49999 50000")


async def test_200_kib_on_stderr_while_stdout_is_open_hang_nothing(device: Any, start_agent: Any, ends: Any) -> None:
    device.add_handler("talk.sh", "#!/bin/sh\nhead -c 204800 /dev/zero | tr '\\0' e >&2\necho done\n")
    await start_agent()
    record = await ends("job-1", "SUCCEEDED", document(action("talk")))
    assert record["details"]["stdout"] == "done"


async def test_a_background_child_that_keeps_stdout_open_does_not_hold_up_the_end(
    device: Any, start_agent: Any, ends: Any
) -> None:
    device.add_handler("fork.sh", "#!/bin/sh\ntail -f /dev/null &\necho done\n")
    await start_agent()
    record = await ends("job-1", "SUCCEEDED", document(action("fork")))
    assert record["details"]["stdout"] == "done"
    assert record["details"]["result"].endswith("; 1 process left behind and killed")


async def test_allow_std_err_does_not_make_a_step_unable_to_fail(device: Any, start_agent: Any, ends: Any) -> None:
    device.add_handler("warn.sh", '#!/bin/sh\nseq "$2" >&2\nexit "$3"\n')
    await start_agent()
    failed = await ends("exits-3", "FAILED", document(action("warn", "0", "3", allowStdErr=8)))
    assert failed["details"]["reason"] == "exited with code 3"
    warned = await ends(
        "warns-9", "FAILED", document(action("warn", "9", "0", allowStdErr=8), action("warn", "0", "0"))
    )
    assert warned["details"]["reason"].startswith("exited with code 0, but wrote 9 lines to stderr")
    assert warned["details"]["steps"] == "warn=FAILED"
    await ends("warns-8", "SUCCEEDED", document(action("warn", "8", "0", allowStdErr=8)))


async def test_all_lines_on_stderr_count_and_not_only_those_that_are_kept(
    device: Any, start_agent: Any, ends: Any
) -> None:
    device.add_handler("warn.sh", "#!/bin/sh\nseq 100000 >&2\n")
    await start_agent()
    record = await ends("job-1", "FAILED", {"operation": "warn.sh", "allowStdErr": 99_999})
    assert "100000 lines" in record["details"]["reason"]
    await ends("job-2", "SUCCEEDED", {"operation": "warn.sh", "allowStdErr": 100_000})
    await ends("job-3", "FAILED", {"operation": "warn.sh"})  # documented: without allowStdErr, none


async def test_a_step_without_input_does_not_crash_the_agent(start_agent: Any, ends: Any) -> None:
    agent = await start_agent()
    for kind in ("runHandler", "runCommand"):
        record = await ends(kind, "REJECTED", document({"action": {"name": "A", "type": kind}}))
        assert record["details"]["reason"] == "steps[0].action.input: is missing; add it"
    await ends("good", "SUCCEEDED", command("echo,still here"))
    assert agent.process.returncode is None


async def test_conditions_are_evaluated(device: Any, start_agent: Any, ends: Any) -> None:
    ledger = device.directory / "ledger"
    device.add_handler("note.sh", f"#!/bin/sh\necho ran >> {ledger}\n")
    await start_agent()
    own = platform.freedesktop_os_release()["ID"]
    here = {"key": "operatingSystem", "value": ["ubuntu", own], "type": "stringEqual"}
    there = {"key": "architecture", "value": ["z80"], "type": "stringEqual"}
    record = await ends("there", "REJECTED", document(action("note"), conditions=[here, there]))
    assert record["details"]["reason"].startswith(
        f'conditions[1]: architecture of this device is "{platform.machine()}"'
    )
    record = await ends("unknown", "REJECTED", document(action("note"), conditions=[{**here, "key": "OS"}]))
    assert record["details"]["reason"].startswith('conditions[0].key: "OS" is not known here')
    assert not ledger.exists()
    await ends("here", "SUCCEEDED", document(action("note"), conditions=[here]))
    assert ledger.read_text() == "ran\n"


async def test_a_version_that_is_not_known_is_not_taken_for_1_0(start_agent: Any, ends: Any) -> None:
    await start_agent()
    wrong = {
        "2.0": 'is not "1.0"',
        "": "is missing",
        "newest": 'is not "1.0"',
        1.0: "is a number where a string belongs",
    }
    for number, (version, problem) in enumerate(wrong.items()):
        record = await ends(f"job-{number}", "REJECTED", {**command("echo,hi"), "version": version})
        assert record["details"]["reason"].startswith(f"version: {problem}")


async def test_percent_signs_and_other_alphabets_stay_in_the_output_and_steps_have_names(
    device: Any, start_agent: Any, ends: Any
) -> None:
    device.add_handler("say.sh", "#!/bin/sh\nprintf '100 %% größer, 温度 21 °C\\n'\nprintf '%%s%%n жар\\n' >&2\n")
    await start_agent()
    record = await ends("job-1", "SUCCEEDED", document(action("say", name="First"), action("say", name="Second")))
    assert record["details"]["stdout"] == "100 % größer, 温度 21 °C"
    assert record["details"]["stderr"] == "%s%n жар"
    assert record["details"]["steps"] == "First=SUCCEEDED, Second=SUCCEEDED"


async def test_a_step_for_an_unknown_user_does_not_run_as_the_agents(device: Any, start_agent: Any, ends: Any) -> None:
    ledger = device.directory / "ledger"
    device.add_handler("note.sh", f"#!/bin/sh\necho ran >> {ledger}\n")
    await start_agent()
    for number, asked in enumerate(
        (document(action("note", runAsUser="no-such")), command("echo", runAsUser="no-such"))
    ):
        record = await ends(f"job-{number}", "REJECTED", asked)
        assert record["details"]["reason"].startswith("steps[0].action.runAsUser: is not allowed on this device")
    assert not ledger.exists()


async def test_a_command_may_be_written_with_spaces(start_agent: Any, ends: Any) -> None:
    await start_agent()
    record = await ends("spaces", "SUCCEEDED", command("echo ok 'a  b' '$HOME'"))
    assert record["details"]["stdout"] == "ok a b $HOME"
    record = await ends("shell", "REJECTED", command("echo ok > /tmp/file"))
    assert 'holds ">", which only a shell obeys' in record["details"]["reason"]
    record = await ends("commas", "SUCCEEDED", command(r"echo,Hello\, World"))
    assert record["details"]["stdout"] == "Hello, World"


async def test_the_tokens_of_presigned_urls_are_not_in_the_log(device: Any, start_agent: Any, ends: Any) -> None:
    device.add_handler("fetch.sh", '#!/bin/sh\ntest -n "$2"\n')
    device.sections["agent"]["log_level"] = "debug"
    agent = await start_agent()
    records = [
        await ends("runs", "SUCCEEDED", document(action("fetch", URL))),
        await ends("old", "SUCCEEDED", {"operation": "fetch.sh", "args": [URL]}),
        await ends("program", "REJECTED", command(f"{URL},x")),
        await ends("command", "REJECTED", command(f"wget,{URL}")),
        await ends("handler", "REJECTED", document(action(URL))),
        await ends("condition", "REJECTED", command("echo") | {"conditions": [{"key": URL, "value": [URL]}]}),
    ]
    await agent.says("settled", times=len(records))
    assert CANARY not in agent.told
    assert CANARY not in json.dumps(records, default=str)
