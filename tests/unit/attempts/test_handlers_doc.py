"""docs/handlers.md is true: every example in it is used here, by the catalog, the documents' rules and a real shim."""

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.configs import config_of

from iot_jobs_agent.attempts.directory import Facts
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.core.job import AttemptId, Ending, ExecutionId, Outcome, Step
from iot_jobs_agent.core.outcome import outcome_of
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import Namespace
from iot_jobs_agent.errors import DocumentError
from iot_jobs_agent.handler import Job, Manifest
from iot_jobs_agent.jobctl import OUTCOMES, parser
from iot_jobs_agent.shim.protocol import LINE_BYTES
from iot_jobs_agent.shim.said import FORMS, parse_line

if TYPE_CHECKING:
    from conftest import Story

DOC = (Path(__file__).parents[3] / "docs" / "handlers.md").read_text()
EXAMPLES = {
    name: (language, text)
    for language, name, text in re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
}
ATTEMPT = AttemptId(ExecutionId("", "job-1", 1), 0, 1)
# `-I` keeps a test's directory away from the worker: it is put in the way of import by hand.
BOOT = "import runpy, sys; sys.path.append({path!r}); runpy.run_module('iot_jobs_agent.worker', run_name='__main__')"

Prepare = Callable[..., Awaitable[Step]]
Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def prepared(story: "Story", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Install an example as the page says, and judge a document that asks for it."""
    directory, packages = tmp_path / "handlers", tmp_path / "packages"
    directory.mkdir(mode=0o755)
    packages.mkdir(mode=0o755)
    monkeypatch.syspath_prepend(packages)

    async def prepare(name: str, document: dict[str, Any], **settings: Any) -> Step:
        language, text = EXAMPLES[name]
        if language == "sh":
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        else:
            (packages / f"{name}.py").write_text(text)
            information = packages / f"{name}-1.0.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            points = tomllib.loads(EXAMPLES["entry-point"][1])["project"]["entry-points"]
            lines = [f"[{group}]\n{key} = {value}" for group, keys in points.items() for key, value in keys.items()]
            (information / "entry_points.txt").write_text("\n".join(lines))
        config = config_of(
            story.state,
            handlers={"enabled": [name], "directories": [str(directory)]},
            handler={name: settings} if settings else {},
        )
        catalog = Catalog(config, worker=(sys.executable, "-I", "-c", BOOT.format(path=str(packages))))
        await catalog.refresh()
        judged = plan(document, size_bytes=1, namespace=Namespace(), enabled=catalog.enabled(), rules=catalog.rules())
        return judged.steps[0]

    return prepare


@pytest.fixture
def run(story: "Story", prepared: Prepare) -> Run:
    async def ran(name: str, params: dict[str, Any], **settings: Any) -> Outcome:
        step = await prepared(name, {"operation": name, "params": params}, **settings)
        story.attempts.start(ATTEMPT, step, Facts("thing-1"))
        return outcome_of(await story.ended())

    return ran


@pytest.fixture
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `jobctl` found here, where the page's /opt/iot-jobs-agent is not."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")


def test_every_example_has_a_name_and_is_used_here() -> None:
    assert DOC.count("\n```") == 2 * len(EXAMPLES)
    used = Path(__file__).read_text()
    assert [name for name in EXAMPLES if f'"{name}"' not in used] == []


async def test_the_short_form_succeeds_on_its_document(story: "Story", prepared: Prepare) -> None:
    step = await prepared("free-space", json.loads(EXAMPLES["document"][1]))
    assert step.timeout_s == 20  # as it describes itself
    story.attempts.start(ATTEMPT, step, Facts("thing-1"))
    result = await story.ended()
    assert (outcome_of(result).status, result.stdout) == ("SUCCEEDED", "enough room\n")
    assert story.progressed[-1].progress == 50
    assert story.progressed[-1].details["free_mb"].isdigit()


async def test_the_short_form_fails_with_its_last_words(run: Run) -> None:
    outcome = await run("free-space", {"mb": 10**12})
    assert (outcome.status, outcome.code) == ("FAILED", "exit-code")
    assert outcome.reason.endswith("MiB free, 1000000000000 wanted")


async def test_field_e8_the_schema_on_the_page_refuses_what_the_page_says(prepared: Prepare, tmp_path: Path) -> None:
    beside = tmp_path / "handlers" / "free-space.manifest.json"
    beside.write_text(EXAMPLES["manifest"][1])
    beside.chmod(0o644)
    with pytest.raises(DocumentError) as caught:
        await prepared("free-space", {"operation": "free-space", "params": {"mb": "100"}})
    assert f"`{caught.value}`" in " ".join(DOC.split())


async def test_the_one_that_cleans_up_does_so_and_does_not_succeed(story: "Story", prepared: Prepare) -> None:
    step = await prepared("hold-door", {"operation": "hold-door", "door": "front"})
    story.attempts.start(ATTEMPT, step, Facts("thing-1"))
    await story.said("door open")
    assert json.loads((story.job_directory() / "order.json").read_text()) == {"door": "front"}
    story.attempts.stop(ATTEMPT)
    result = await story.ended()
    assert (result.ending, result.stdout, outcome_of(result).status) == (Ending.STOPPED, "door closed\n", "FAILED")


@pytest.mark.usefixtures("own_path")
@pytest.mark.parametrize(
    ("params", "status", "reason"),
    [({}, "REJECTED", "the params have no url"), ({"url": "x"}, "FAILED", "the list is not there")],
)
async def test_jobctl_says_how_it_ended(
    run: Run, story: "Story", params: dict[str, str], status: str, reason: str
) -> None:
    outcome = await run("update-list", params)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert {k: v for e in story.progressed for k, v in e.details.items()} == {"source": "job.json"}
    assert (story.job_directory() / "checkpoint.json").exists() == bool(params)


async def test_the_python_handler_works_below_its_roots_only(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    outcome = await run("checksum", {"path": str(tmp_path / "file")}, roots=[str(tmp_path)], timeout_s=60)
    digest = hashlib.sha256(b"content").hexdigest()
    assert (outcome.status, outcome.details) == ("SUCCEEDED", {"sha256": digest})


@pytest.mark.parametrize(
    ("params", "status", "reason"),
    [
        ({"path": "/etc/passwd"}, "REJECTED", "path: is not below one of `roots` in [handler.checksum]"),
        ({"path": "/no/such/root/file"}, "FAILED", "the file cannot be read: No such file or directory"),
        (
            {"file": "/etc/passwd"},
            "REJECTED",
            "params.path: is missing; add it; params.file: is not known to the handler; leave it out",
        ),
    ],
)
async def test_the_python_handler_says_what_is_wrong(
    run: Run, params: dict[str, str], status: str, reason: str
) -> None:
    outcome = await run("checksum", params, roots=["/no/such/root"])
    assert (outcome.status, outcome.reason) == (status, reason)


def test_the_settings_are_a_piece_of_a_configuration() -> None:
    section = tomllib.loads(EXAMPLES["config"][1])["handler"]["checksum"]
    assert section.keys() - Manifest.model_fields.keys() == {"roots"}
    assert Manifest.model_validate({"name": "checksum", "timeout_s": section["timeout_s"]}).timeout_s == 300


def test_the_lines_for_fd_3_are_understood_and_show_every_member() -> None:
    heard = [parse_line(line.encode()) for line in EXAMPLES["fd3"][1].splitlines()]
    assert {member for line in heard for member in line} == set(FORMS)
    assert f"{LINE_BYTES:,} bytes" in DOC


async def test_the_result_file_is_one(story: "Story") -> None:
    result = EXAMPLES["result"][1].strip()
    outcome = outcome_of(await story.run(f"echo '{result}' > $JOB_RESULT_FILE; exit 0"))
    assert outcome == Outcome(outcome.status, "slot B is the running one", "rejected", {"slot": "B"})


async def test_the_environment_is_the_one_that_the_page_lists(story: "Story") -> None:
    result = await story.run("tr '\\0' '\\n' < /proc/$$/environ | cut -d= -f1")
    table = DOC.partition("| variable | value |")[2].partition("\n\n")[0]
    listed = {
        word for row in table.splitlines() for word in re.findall(r"`([A-Z_]+)`", row.split("|")[1] if row else "")
    }
    assert set(result.stdout.split()) == listed


def test_the_page_lists_what_a_manifest_a_job_and_jobctl_have() -> None:
    names = {*Manifest.model_fields, *(name for name in dir(Job) if not name.startswith("_"))}
    names |= {*OUTCOMES, "cancelled", "settings", "id", "dir", "is_resumed"}
    assert [name for name in names if not re.search(rf"`[^`]*\b{name}\b[^`]*`", DOC)] == []
    assert set(re.findall(r"\{([a-z,]+)\}", parser().format_help())) <= {
        "progress,detail,checkpoint,reject,retry,reboot,fail"
    }
