"""`iot-jobs-agent try`, as authors use it."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

COUNT = """#!/bin/sh
[ "$1" = describe ] && echo '{"name": "count", "timeout_s": 9}' && exit 0
jobctl progress 50 half
jobctl detail params "$(cat)"
jobctl detail settings "$(cat "$JOB_SETTINGS_FILE")"
echo "$JOB_PHASE $JOB_REASON $JOB_DEADLINE_S"
"""
HOLD = """#!/bin/sh
trap 'echo "let go"; exit 0' TERM
echo '{"progress": 1, "message": "holding"}' >&3
while :; do sleep 0.1; done
"""
MODULE = """
from pydantic import BaseModel
from iot_jobs_agent.handler import Handler, Job, Outcome

class Params(BaseModel, frozen=True, extra="forbid"):
    word: str

def run(params: Params, job: Job) -> Outcome:
    job.progress(40, "saying")
    return Outcome.succeeded(word=params.word, settings=job.settings)

HANDLER = Handler(name="say", params=Params, run=run)
"""


def test_a_file_is_run_as_the_agent_would_and_people_see_what_it_says(author: Any, tmp_path: Path) -> None:
    author.write("count", COUNT)
    author.write("params.json", '{"n": 3}')
    done = author.run("try", "./count", "params.json")
    assert done.returncode == 0
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines[:2] == [["started", "count, at most 9 s"], ["progress", "50 % half"]]
    assert ["detail", 'params = {"n": 3}'] in lines
    assert ["stdout", "run first 9"] in lines
    assert lines[-2] == ["outcome", "SUCCEEDED"]
    assert lines[-1][1].startswith("exited with code 0 after ")


def test_settings_and_overrides_come_from_a_configuration_that_needs_no_aws(author: Any) -> None:
    author.write("count.sh", COUNT)
    config = author.write("config.toml", "[handler.count]\ntimeout_s = 5\nroots = ['/srv']\n")
    told = author.attempt("./count.sh", {}, "--config", config)
    assert json.loads(told["details"]["settings"]) == {"roots": ["/srv"]}
    assert told["stdout"] == "run first 5\n"


def test_a_built_in_is_found_by_name_and_says_what_it_lacks(author: Any) -> None:
    told = author.attempt("write-file", {"path": "/srv/x", "content": ""})
    assert told["status"] == "REJECTED"
    assert told["reason"].startswith("path: is not below one of `roots` in [handler.write-file]; add a directory above")


def test_a_module_of_the_current_directory_is_found_by_its_attribute(author: Any) -> None:
    author.write("saying.py", MODULE)
    config = author.write("config.toml", "[handler.say]\nloud = true\n")
    told = author.attempt("saying:HANDLER", {"word": "hi"}, "--config", config)
    assert (told["status"], told["details"]) == ("SUCCEEDED", {"word": "hi", "settings": '{"loud": true}'})


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        ("./none", "/none does not exist"),
        ("./_up", "_up cannot be the name of a handler; use such a name as "),
        ("count.sh", "leave .sh out; write ./ before the name of a file"),
        ("", "'' cannot be the name of a handler; use such a name as "),
        ("./plain", "is not executable by the agent; run `chmod 755 "),
        ("./count.sh", "count.sh is hidden by "),
        ("unheard-of", "no built-in, no installed package and no file"),
        ("saying:NOTHING", "saying:NOTHING is not a Handler"),
        ("nowhere:HANDLER", "No module named 'nowhere'"),
    ],
)
def test_what_cannot_be_run_is_rejected_with_the_reason(author: Any, handler: str, reason: str) -> None:
    for name in ("count", "count.sh"):
        author.write(name, COUNT)
    author.write("plain", COUNT, mode=0o644)
    author.write("saying.py", MODULE)
    told = author.attempt(handler, {})
    assert told["status"] == "REJECTED"
    assert reason in told["reason"]


def test_a_link_that_leads_nowhere_hides_a_script_as_it_does_on_a_device(author: Any) -> None:
    author.write("count.sh", COUNT).with_name("count").symlink_to("nowhere")
    told = author.attempt("./count.sh", {})
    assert told["status"] == "REJECTED"
    assert "count.sh is hidden by " in told["reason"]


def test_a_failure_exits_with_1_and_shows_its_last_words(author: Any) -> None:
    author.write("bad", "#!/bin/sh\necho 'no space' >&2\nexit 3\n")
    done = author.run("try", "./bad", "-", params={})
    assert done.returncode == 1
    assert "outcome   FAILED  [exit-code]  exited with code 3: no space\n" in done.stdout


def test_what_a_device_would_not_trust_gets_a_warning_and_runs_all_the_same(author: Any) -> None:
    author.write("count", COUNT, mode=0o775)
    done = author.run("try", "./count", "-", params={})
    assert done.returncode == 0
    assert "warning   a device would refuse it as it is: " in done.stdout
    assert "is writable by others" in done.stdout


def test_what_the_configuration_does_not_enable_gets_a_warning(author: Any) -> None:
    config = author.write("config.toml", "handlers.enabled = ['write-file']\n")
    done = author.run("try", "run-command", "-", "--config", config, params={})
    assert "warning   a device would refuse it as it is: run-command is not in handlers.enabled" in done.stdout


@pytest.mark.parametrize(
    ("params", "reason"), [("[]", "is not a JSON object"), ("{", "is not JSON"), (None, "cannot be read")]
)
def test_params_that_are_not_an_object_are_named(author: Any, params: str | None, reason: str) -> None:
    if params is not None:
        author.write("params.json", params)
    done = author.run("try", "write-file", "params.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


def test_a_wrong_configuration_exits_with_78(author: Any) -> None:
    config = author.write("config.toml", "[handler.write-file]\nroots = 5\n")
    done = author.run("try", "write-file", "-", "--config", config, params={})
    assert (done.returncode, "handler.write-file.roots" in done.stderr) == (78, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_attempt_and_leaves_nothing(
    author: Any, start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    author.write("hold", HOLD)
    author.write("params.json", "{}")
    process = start("try", "./hold", "params.json")
    assert process.stdout.readline().startswith("started")
    assert process.stdout.readline() == "progress  1 % holding\n"
    (state,) = scratch.iterdir()
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "stopping" in errors
    assert "stdout    let go\n" in output
    assert "outcome   FAILED  [stopped]" in output
    assert list(scratch.iterdir()) == []
    assert alive(str(state)) == []


def alive(state: str) -> list[int]:
    """Tell which processes have a job of that state directory in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"JOB_DIR={state}".encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def test_a_wish_is_told_with_what_the_agent_would_do(author: Any) -> None:
    author.write("busy.sh", "#!/bin/sh\njobctl retry 'dpkg is locked'\n")
    told = author.attempt("./busy.sh", {})
    assert told["status"] == "IN_PROGRESS"
    assert told["reason"] == "the agent would try it again in 60 s: dpkg is locked"
    config = author.write("config.toml", "[handler.busy]\nretry_limit = 0\n")
    assert author.attempt("./busy.sh", {}, "--config", config)["code"] == "retry-limit"


def test_a_reboot_is_not_done_but_told_where_it_is_allowed(author: Any) -> None:
    script = "#!/bin/sh\n[ $1 = describe ] && echo '{\"may_reboot\": @may}' && exit 0\njobctl reboot 'new kernel'\n"
    author.write("kernel", script.replace("@may", "false"))
    assert author.attempt("./kernel", {})["code"] == "reboot-not-allowed"
    author.write("kernel", script.replace("@may", "true"))
    config = author.write("config.toml", "[handler.kernel]\nmay_reboot = true\n")
    for options in ((), ("--config", config)):
        told = author.attempt("./kernel", {}, *options)
        assert told["reason"] == "the agent would reboot, then resume it: new kernel"


def test_field_g4_the_traceback_is_readable_on_a_terminal(author: Any) -> None:
    author.write(
        "saying.py", MODULE.replace("job.progress(40, ", "raise KeyError('\\x1b[2Jtwo\\nlines' + "), mode=0o644
    )
    done = author.run("try", "saying:HANDLER", "-", params={"word": "hi"})
    assert done.returncode == 1
    assert "outcome   FAILED  [internal-error]  internal error: KeyError in saying.py, line 9\n" in done.stdout
    shown = done.stderr.splitlines()
    assert "the handler raised" in shown[0]
    assert shown[1] == "Traceback (most recent call last):"
    assert shown[2].endswith('saying.py", line 9, in run')
    assert "\x1b[2J" not in done.stderr


def test_field_g4_a_wrong_import_is_told_once_and_with_its_cause(author: Any) -> None:
    author.write("saying.py", "import no_such_library\n", mode=0o644)
    told = author.attempt("saying:HANDLER", {})
    assert told["reason"] == (
        "saying:HANDLER cannot be imported: No module named 'no_such_library'"
        " (ModuleNotFoundError in saying.py, line 1)"
    )
    assert author.attempt("json:HANDLER", {})["reason"] == "json:HANDLER is not a Handler"


BUSY = """#!/bin/sh
[ "$1" = describe ] && echo '{"retry_limit": 2}' && exit 0
echo "$JOB_ATTEMPT $1 $JOB_REASON" >> "$JOB_DIR/tries"
[ "$(wc -l < "$JOB_DIR/tries")" -gt @tries ] || { jobctl retry 'dpkg is locked' && exit 0; }
cat "$JOB_DIR/tries"
"""


def test_field_g2_another_try_is_played_as_often_as_the_manifest_allows(author: Any) -> None:
    author.write("busy", BUSY.replace("@tries", "2"))
    told = author.attempt("./busy", {}, "--retry")
    assert (told["status"], told["stdout"]) == ("SUCCEEDED", "1 run first\n2 run retry\n3 run retry\n")
    author.write("busy", BUSY.replace("@tries", "3"))
    told = author.attempt("./busy", {}, "--retry")
    assert (told["code"], told["reason"]) == ("retry-limit", "asked to be tried again beyond its limit: dpkg is locked")


REBOOT = """#!/bin/sh
[ "$1" = describe ] && echo '{"may_reboot": @may}' && exit 0
[ "$1" = run ] || { echo "$1 $JOB_REASON $JOB_ATTEMPT"; exit 0; }
jobctl reboot 'new kernel'
"""


def test_field_g2_a_reboot_is_played_and_says_what_a_device_needs_for_it(author: Any) -> None:
    author.write("kernel", REBOOT.replace("@may", "true"))
    done = author.run("try", "./kernel", "{}", "--reboot")
    assert (
        "warning   a device would refuse it as it is: it may reboot only with may_reboot = true in [handler.kernel]"
        in (done.stdout)
    )
    assert "again     attempt 2, JOB_PHASE=resume JOB_REASON=reboot\n" in done.stdout
    assert (done.returncode, "stdout    resume reboot 2\n" in done.stdout) == (0, True)
    author.write("kernel", REBOOT.replace("@may", "false"))
    told = author.attempt("./kernel", {}, "--reboot")
    assert told["reason"] == (
        "asked for a reboot, but may_reboot is not true in both its manifest and its configuration: new kernel"
    )


def test_field_g2_a_device_is_not_rebooted_for_ever(author: Any) -> None:
    author.write(
        "loop", "#!/bin/sh\n[ $1 = describe ] && echo '{\"may_reboot\": true}' && exit 0\njobctl reboot again\n"
    )
    told = author.attempt("./loop", {}, "--reboot")
    assert (told["code"], told["reason"]) == ("reboot-limit", "asked for more than 10 reboots: again")


CUT_SHORT = """#!/bin/sh
[ "$1" = describe ] && echo '{"on_interrupt": "@on_interrupt"}' && exit 0
[ "$JOB_REASON" = first ] || { echo "$1 $JOB_REASON $(ls | grep -c kept)"; exit 0; }
touch kept
echo '{"progress": 1}' >&3
exec sleep 1000
"""


@pytest.mark.parametrize(
    ("on_interrupt", "status", "output"),
    [("resume", "SUCCEEDED", "resume killed 1\n"), ("rerun", "SUCCEEDED", "run killed 0\n"), ("fail", "FAILED", "")],
)
def test_field_g2_an_interruption_is_followed_by_what_the_manifest_says(
    author: Any, on_interrupt: str, status: str, output: str
) -> None:
    author.write("cut", CUT_SHORT.replace("@on_interrupt", on_interrupt))
    told = author.attempt("./cut", {}, "--interrupt")
    assert (told["status"], told["stdout"]) == (status, output)
    assert told["code"] == ("lost" if status == "FAILED" else "")


def test_field_g2_what_ends_before_it_is_interrupted_is_told(author: Any) -> None:
    author.write("quick", "#!/bin/sh\nexit 0\n")
    done = author.run("try", "./quick", "{}", "--interrupt")
    assert (done.returncode, "note      it ended before it could be interrupted\n" in done.stdout) == (0, True)


# G6: params on the command line


def test_field_g6_params_may_stand_on_the_command_line(author: Any) -> None:
    author.write("count", COUNT)
    done = author.run("try", "./count", '{"a": 1}')
    assert (done.returncode, 'detail    params = {"a": 1}\n' in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ('{"a": 1', "PARAMS is not JSON: Expecting ',' delimiter"),
        ("[1]", "PARAMS is not a JSON object; params are one, as {}"),
        (
            "a=1",
            "a=1 cannot be read: No such file or directory; give a file, the params themselves as a JSON object, or -",
        ),
    ],
)
def test_field_g6_params_that_are_none_are_told_with_the_three_ways(author: Any, params: str, reason: str) -> None:
    done = author.run("try", "write-file", params)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
