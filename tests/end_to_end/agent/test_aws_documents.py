"""AWS's documents as they are, and the scripts that people bring from AWS's agent, unmodified."""

from typing import Any

# What the samples of AWS's agent look like: the user first, who may be nobody, then the arguments.
DOWNLOAD = """#!/usr/bin/env sh
set -e
echo "Running download-file.sh"
user=$1
fileUrl=$2
outputFile=$3
echo "Username: $user"
if id "$user" > /dev/null 2>&1; then
    echo "as user"
else
    echo "username not found"
fi
printf '%s' "$fileUrl" > "$outputFile"
"""


def run_handler(handler: str, *args: str, **action: Any) -> dict[str, Any]:
    given = {"handler": handler, "args": list(args), "path": "default"}
    return {"action": {"name": handler, "type": "runHandler", "input": given, **action}}


def document(*steps: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"_comment": "as in AWS's samples", "version": "1.0", "steps": list(steps), **members}


async def test_a_script_with_the_user_first_runs_as_it_is_and_wins_over_the_built_in_of_its_name(
    device: Any, start_agent: Any, operator: Any
) -> None:
    target = device.directory / "target"
    device.add_handler("download-file.sh", DOWNLOAD)
    device.sections["handlers"]["run_as_users"] = ["nobody"]
    await start_agent()
    url = "https://example.com/a b;$HOME"
    await operator.create("user", document(run_handler("download-file.sh", url, str(target), runAsUser="nobody")))
    record = await operator.wait("user", "SUCCEEDED")
    assert record["details"]["stdout"] == "Running download-file.sh Username: nobody as user"
    assert target.read_text() == url  # the built-in has no roots here and would have refused

    target.unlink()
    await operator.create("no-user", document(run_handler("download-file.sh", url, str(target), runAsUser="")))
    record = await operator.wait("no-user", "SUCCEEDED")
    assert record["details"]["stdout"] == "Running download-file.sh Username: username not found"
    assert target.read_text() == url

    old = {"_comment": "", "operation": "download-file.sh", "args": [url, str(target)], "path": "default"}
    await operator.create("older", old)
    await operator.wait("older", "SUCCEEDED")


async def test_without_a_script_the_built_in_of_the_name_runs(start_agent: Any, operator: Any, device: Any) -> None:
    device.sections["handlers"]["enabled"].append("download-file")
    await start_agent()
    await operator.create("job-1", document(run_handler("download-file.sh", "https://example.com/a", "/tmp/a")))
    record = await operator.wait("job-1", "REJECTED")
    assert "roots" in record["details"]["reason"]


async def test_the_final_step_runs_if_all_steps_succeeded_or_their_failure_is_to_be_ignored(
    device: Any, start_agent: Any, operator: Any
) -> None:
    ledger = device.directory / "ledger"
    device.add_handler("note.sh", f'#!/bin/sh\necho "$2" >> {ledger}\nexit "$3"\n')
    final = {"finalStep": run_handler("note.sh", "final", "0", name="Final")}
    await start_agent()

    await operator.create(
        "fails", document(run_handler("note.sh", "a", "1"), run_handler("note.sh", "b", "0"), **final)
    )
    record = await operator.wait("fails", "FAILED")
    assert ledger.read_text().split() == ["a"]
    assert record["details"]["steps"] == "note.sh=FAILED"

    ignored = run_handler("note.sh", "c", "1", ignoreStepFailure="true")
    await operator.create("ignored", document(ignored, run_handler("note.sh", "d", "0"), **final))
    record = await operator.wait("ignored", "SUCCEEDED")
    assert ledger.read_text().split() == ["a", "c", "d", "final"]
    assert record["details"]["steps"] == "note.sh=FAILED, note.sh=SUCCEEDED, Final=SUCCEEDED"

    last = {"finalStep": run_handler("note.sh", "e", "1", name="Final")}
    await operator.create("final-fails", document(run_handler("note.sh", "f", "0"), **last))
    record = await operator.wait("final-fails", "FAILED")
    assert record["details"]["steps"] == "note.sh=SUCCEEDED, Final=FAILED"


async def test_standard_output_is_told_unless_the_document_says_not_to(start_agent: Any, operator: Any) -> None:
    await start_agent()
    step = {"action": {"name": "A", "type": "runCommand", "input": {"command": "echo,hello"}}}
    for number, given in enumerate((None, True, "true", False, "false")):
        members = {} if given is None else {"includeStdOut": given}
        await operator.create(f"job-{number}", document(step, **members))
        record = await operator.wait(f"job-{number}", "SUCCEEDED")
        assert record["details"].get("stdout") == (None if given in {False, "false"} else "hello")


async def test_steps_are_told_by_name_whatever_the_names_are(start_agent: Any, operator: Any) -> None:
    await start_agent()
    names = ["Same", "Same", "a=b, c", "größe\x07", "", "x" * 100]
    steps = [{"action": {"name": name, "type": "runCommand", "input": {"command": "echo,a"}}} for name in names]
    await operator.create("job-1", document(*steps))
    record = await operator.wait("job-1", "SUCCEEDED")
    told = [each.rpartition("=") for each in record["details"]["steps"].split(", ")]
    assert [name for name, _, _ in told] == ["Same", "Same", "a-b- c", "gr--e-", "step-5", "x" * 64]
    assert {result for _, _, result in told} == {"SUCCEEDED"}


async def test_where_handlers_run_in_units_another_users_step_needs_a_handler_without_a_profile(
    device: Any, start_agent: Any, operator: Any
) -> None:
    device.add_handler("kept", "#!/bin/sh\n")
    device.sections["handlers"] |= {"run_as_users": ["nobody"], "launcher": "units"}
    device.sections["handler.kept"] = {"profile": "isolated"}
    await start_agent()
    await operator.create("kept", document(run_handler("kept", runAsUser="nobody")))
    record = await operator.wait("kept", "REJECTED")
    assert 'steps[0].action.runAsUser: handler "kept" has a profile of its own' in record["details"]["reason"]
    await operator.create("listed", document(run_handler("kept", runAsUser="daemon")))
    record = await operator.wait("listed", "REJECTED")
    assert "handlers.run_as_users" in record["details"]["reason"]
