"""Whatever the service delivers as a document: a plan of what is allowed here, or a refusal that repeats no secret.

The way is the real one, from the bytes of the answer to the verdict, with the real catalog. What JSON has no word for
is refused as unreadable; nothing raises.
"""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.configs import config_of
from tests.support.examples import LARGE

from iot_jobs_agent.aws import messages
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.catalog.sources import WORKER
from iot_jobs_agent.core.job import Plan, Refusal, Step, StepKind
from iot_jobs_agent.documents.document import LARGEST_BYTES
from iot_jobs_agent.judge import UNREADABLE, Judge

CANARY = "canary-77d0"
PROGRAMS = ["/bin/echo", "/usr/bin/uptime"]
USERS = ["", "root", "kiosk"]
ENABLED = ["greet", "run-command", "write-file", "download-file", "install-packages"]
ANSWER = """{"execution":
    {"jobId": "job-1", "status": "QUEUED", "executionNumber": 1, "versionNumber": 1, "jobDocument": DOCUMENT}}"""
Verdict = Callable[..., Plan | Refusal]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scripts")
    directory.chmod(0o755)
    (directory / "greet.sh").write_text("#!/bin/sh\n")
    (directory / "greet.sh").chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def verdict(scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verdict]:
    """Judge the text of a document, as the answer to a describe brings it."""
    state = tmp_path_factory.mktemp("state")
    config = config_of(
        state,
        namespaces=[{"id": "files", "handler": "write-file"}],
        handlers={"enabled": ENABLED, "directories": [str(scripts)], "run_as_users": ["kiosk"]},
        handler={"run-command": {"programs": PROGRAMS}, "write-file": {"roots": [str(state)]}},
    )
    judge = Judge(config, Catalog(config))
    loop = asyncio.new_event_loop()

    def judged(text: str, namespace: str = "") -> Plan | Refusal:
        execution = (
            '{"jobId": "job-1", "status": "QUEUED", "executionNumber": 1, "versionNumber": 1, "jobDocument": %s}'
        )
        answer = f'{{"execution": {execution % text}}}'.encode(errors="surrogatepass")
        try:
            found = messages.parse_execution(messages.parse_object(answer), namespace)
        except messages.MalformedMessageError:
            return UNREADABLE  # what the daemon makes of it
        assert found is not None
        return loop.run_until_complete(judge.verdict(found))[0]

    yield judged
    loop.close()


def check(judged: Plan | Refusal, scripts: Path) -> None:
    if isinstance(judged, Refusal):
        assert judged.reason
        assert judged.reason.isascii()
        assert judged.reason.isprintable()
        assert CANARY not in judged.reason
        assert len(judged.reason) < 1024
        return
    assert judged.steps
    for step in judged.steps:
        check_step(step, str(scripts))
        assert CANARY not in repr(replace(step, name=""))  # names of steps are told


def check_step(step: Step, scripts: str) -> None:
    assert step.handler in ENABLED
    assert step.name.isascii()
    assert step.name.isprintable()
    assert all("\0" not in argument and argument.encode() is not None for argument in step.argv)
    match step.kind, step.handler:
        case StepKind.HANDLER, "greet":
            assert step.argv == (f"{scripts}/greet.sh",)
        case StepKind.HANDLER, _:
            assert step.argv[: len(WORKER)] == WORKER
        case StepKind.COMMAND, "greet":
            assert step.argv[0] == f"{scripts}/greet.sh"
            assert step.argv[1] in USERS
        case StepKind.COMMAND, handler:
            assert handler == "run-command"
            assert step.argv[0] in PROGRAMS
    params = json.loads(step.input, parse_constant=pytest.fail)
    assert isinstance(params, dict)


# Names are told, so that a person can act, but for what follows a question mark. Everything else is a secret.
hostile_names = [
    *("../greet", "/bin/sh", "greet/", "./greet", "..", ".", "", "greet.sh.sh", "Greet", "greet ", "gr\u0435et"),
    *("\uff47reet", "greet\u200b", "greet\n", "greet\0", "greet;id", "$(greet)", "`greet`", "greet|sh", "*", "-rf"),
    *("sh", "reboot", "\ud800", "\x1b[2J", "%67reet", f"greet?{CANARY}", f"https://x/y?{CANARY}", "n" * 40_000),
]
names = st.sampled_from([*ENABLED, *(f"{name}.sh" for name in ENABLED), *ENABLED, *hostile_names])
programs = st.sampled_from([*PROGRAMS, "echo", "uptime", *hostile_names])
commands = st.builds(
    "{}{}{}".format,
    programs,
    st.sampled_from([",", " ", ", "]),
    st.sampled_from(["", CANARY, f"a\n{CANARY}", f"'{CANARY}", f"{CANARY}'", f"$({CANARY}), ;"]),
) | st.builds("{}{}{}".format, programs, st.sampled_from(["", "\\,"]), st.sampled_from(["", "x"]))  # a longer name
secrets = st.text(st.characters(), max_size=5).map(lambda text: f"{CANARY}{text}")
scalars = st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | secrets
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(secrets, inner, max_size=4), max_leaves=8
)


def wrong(name: str) -> st.SearchStrategy[Any]:
    """Any value, but for a secret as the name of what is asked for, which is told."""
    told = name in {"operation", "handler", "command"}
    return values.filter(lambda value: not isinstance(value, str)) if told else values


def members(**right: Any) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of these members, each mostly of the right kind, and now and then with others."""
    some = st.fixed_dictionaries({}, optional={name: one | one | one | wrong(name) for name, one in right.items()})
    return st.builds(lambda known, others: {**known, **others}, some, st.just({}) | st.dictionaries(secrets, values))


flags = st.sampled_from([True, False, "true", "False", ""])
lines = st.sampled_from([0, 3, "8", "", None])
arguments = st.lists(secrets | st.sampled_from(["", "x", "a\nb", "$(id)", "a\0b", "; rm -rf /"]), max_size=3)
paths = st.sampled_from(["", "default", "/", "/tmp", "../", f"/srv/{CANARY}"])
users = st.sampled_from(["", "root", "kiosk", "nobody", f"{CANARY}", "kiosk\n", "k\u0456osk"])
inputs = members(handler=names, args=arguments, path=paths, command=commands)
actions = st.fixed_dictionaries(
    {
        "name": secrets | values,
        "type": st.sampled_from(["runHandler", "runCommand", "runHandler", "runCommand", "runShell"]),
        "input": st.fixed_dictionaries({"handler": names, "command": commands}, optional={"args": arguments}) | inputs,
    },
    optional={"runAsUser": users, "allowStdErr": lines | values, "ignoreStepFailure": flags | values},
)
steps = st.fixed_dictionaries({"action": actions | actions | actions | values}) | values
conditions = st.lists(
    members(
        key=st.sampled_from(["operatingSystem", "osVersion", "OS"]),
        value=st.lists(secrets) | st.just(["debian"]),
        type=st.just("stringEqual"),
    ),
    max_size=2,
)
documents = (
    values
    | members(operation=names, params=members())
    | members(operation=names, args=arguments, path=paths, allowStdErr=lines, includeStdOut=flags)
    | st.fixed_dictionaries(
        {
            "version": st.sampled_from(["1.0", "1.0", "1.0", "2.0", CANARY]),
            "steps": st.lists(steps, max_size=3) | values,
        },
        optional={"finalStep": steps, "conditions": conditions | values, "includeStdOut": flags | values},
    )
    | members(operation=names, steps=st.lists(steps), version=st.just("1.0"), conditions=conditions)
)


def test_any_document_becomes_a_plan_of_what_is_allowed_or_a_refusal_without_secrets(
    verdict: Verdict, scripts: Path
) -> None:
    seen: Counter[type] = Counter()

    @settings(LARGE, max_examples=400)
    @given(document=documents, namespace=st.sampled_from(["", "", "", "files"]))
    def judged(document: object, namespace: str) -> None:
        found = verdict(json.dumps(document), namespace)
        seen[type(found)] += 1
        check(found, scripts)

    judged()
    assert min(seen[Plan], seen[Refusal]) > 20  # the documents are not all of one kind


@given(
    document=documents,
    cut=st.integers(0, 200),
    put=st.sampled_from(
        ["", "NaN", "1e400", "-1e400", "Infinity", "\ufeff", "\0", "\ud800", '"', "}", '"a":1,', "9" * 5000]
    ),
)
@settings(LARGE, max_examples=200)
def test_any_text_is_judged_too(verdict: Verdict, scripts: Path, document: object, cut: int, put: str) -> None:
    text = json.dumps(document)
    check(verdict(text[:cut] + put + text[cut:]), scripts)


def greet(params: str) -> str:
    return f'{{"operation": "greet", "params": {{"a": {params}}}}}'


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (greet("NaN"), "cannot be read"),
        (greet("-Infinity"), "cannot be read"),
        (greet("9" * 5000), "cannot be read"),
        ("[" * 10_000 + "]" * 10_000, "cannot be read"),
        (greet("[" * 10_000 + "]" * 10_000), "cannot be read"),
        ("\ufeff{}", "cannot be read"),
        (greet('"\0"'), "cannot be read"),
        (greet('"\ud800"'), "half of a surrogate pair"),
        (greet("1e400"), "infinite number"),
        (greet("-1e400"), "infinite number"),
        (greet("9" * 400), "beyond 1e308"),
        (greet('"\\ud800"'), "half of a surrogate pair"),
        (greet("[" * 99 + "]" * 99), "nested deeper than 100"),
        ('{"operation": "greet", "operation": "reboot"}', '"reboot" is not enabled'),
    ],
)
def test_what_no_handler_could_be_given_is_refused(verdict: Verdict, scripts: Path, text: str, part: str) -> None:
    judged = verdict(text)
    check(judged, scripts)
    assert isinstance(judged, Refusal)
    assert part in judged.reason


def test_the_last_of_two_equal_keys_counts(verdict: Verdict) -> None:
    judged = verdict('{"operation": "reboot", "operation": "greet", "params": {"a": 1, "a": 2}}')
    assert isinstance(judged, Plan)
    assert judged.steps[0].handler == "greet"
    assert json.loads(judged.steps[0].input) == {"a": 2}


def test_a_document_has_at_most_what_a_message_can_carry(verdict: Verdict) -> None:
    padding = "ü" * ((LARGEST_BYTES - len('{"operation":"greet","x":""}')) // 2)
    largest = json.dumps({"operation": "greet", "x": padding}, separators=(",", ":"), ensure_ascii=False)
    assert len(largest.encode()) == LARGEST_BYTES
    assert isinstance(verdict(largest), Plan)
    too_large = verdict(largest.replace('"x":"', '"x":"y'))
    assert too_large == Refusal(f"the document has {LARGEST_BYTES + 1} bytes; at most {LARGEST_BYTES} are allowed")


@pytest.mark.parametrize("name", hostile_names)
def test_a_name_that_is_not_exactly_an_enabled_one_runs_nothing(verdict: Verdict, scripts: Path, name: str) -> None:
    given = {"handler": name, "args": [CANARY]}
    for document in (
        {"operation": name},
        {"operation": name, "args": [CANARY]},
        {"version": "1.0", "steps": [{"action": {"name": "A", "type": "runHandler", "input": given}}]},
        {
            "version": "1.0",
            "steps": [{"action": {"name": "A", "type": "runCommand", "input": {"command": f"{name},x"}}}],
        },
    ):
        judged = verdict(json.dumps(document))
        check(judged, scripts)
        assert isinstance(judged, Refusal), document


def test_arguments_reach_a_script_to_the_letter(verdict: Verdict, scripts: Path) -> None:
    args = ["a\nb", "; rm -rf /", "$(id)", "`id`", "*", "\\", "'", '"', "", "-n", "--", "%s", "жар", "\t"]
    judged = verdict(json.dumps({"operation": "greet.sh", "args": args}))
    assert isinstance(judged, Plan)
    assert judged.steps[0].argv == (f"{scripts}/greet.sh", "", *args)


def test_no_finite_number_is_refused(verdict: Verdict) -> None:
    for number in (1.7976931348623157e308, -5e-324, 10**308, math.pi):
        assert isinstance(verdict(greet(json.dumps(number))), Plan)
