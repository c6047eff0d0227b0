"""`iot-jobs-agent explain`: what this device would do with a job document, without running anything of it.

The very judge of the agent decides, so what is said here is what happens; what only the handler itself can know, such
as whether a file is there, shows when it runs.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from iot_jobs_agent.aws.messages import ServiceExecution
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.commands import options
from iot_jobs_agent.commands.terminal import duration_in_words, printable, width, wrapped
from iot_jobs_agent.config.config import load_handlers
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.core.job import ExecutionId, ExecutionStatus, OnInterrupt, Plan, Refusal, Step, StepKind
from iot_jobs_agent.device import AS_USER
from iot_jobs_agent.documents.params import params_problem
from iot_jobs_agent.errors import UsageError
from iot_jobs_agent.judge import Judge
from iot_jobs_agent.profiles import NAME, unit_limits
from iot_jobs_agent.state.owner import become_owner

LABEL = 15
INTERRUPTED = {
    OnInterrupt.FAIL: "it fails",
    OnInterrupt.RERUN: "it runs again",
    OnInterrupt.RESUME: "it is resumed where it left off",
}


def main(arguments: Sequence[str]) -> int:
    """Print what would happen. Return 0 if the document would run here, 1 if it would be refused, even if probably.

    Raises:
        UsageError: the document cannot be read, or the namespace is not served here.
        ConfigError: the configuration cannot be used.
    """
    chosen = parser().parse_args(arguments)
    document = options.json_argument(chosen.document, "DOCUMENT", "the document itself")
    config = load_handlers(chosen.config)
    if chosen.namespace and chosen.namespace not in config.namespaces_served:
        raise UsageError(f"this device does not serve namespace {chosen.namespace!r}; add it as [[namespaces]]")
    become_owner(config.agent.state_directory)
    said = asyncio.run(_explain(config, document, chosen.namespace))
    if chosen.json:
        print(json.dumps(said, indent=2))
    else:
        print("\n".join(wrapped(printable(line), width(), LABEL) for line in _text(said)))
    return 0 if said["runs"] and not said["doubts"] else 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = options.parser("explain")
    made.add_argument(
        "document", metavar="DOCUMENT", help="the job document, a JSON object; or a file that has it; - for stdin"
    )
    options.add_config(made)
    made.add_argument("--namespace", default="", metavar="NAMESPACE_ID", help="default: the default namespace")
    options.add_json(made)
    return made


async def _explain(config: Config, document: object, namespace: str) -> dict[str, Any]:
    """Return what `--json` prints."""
    catalog = Catalog(config)
    execution = ServiceExecution(ExecutionId(namespace, "explained", 1), ExecutionStatus.QUEUED, 1, "", document)
    verdict, _ = await Judge(config, catalog).verdict(execution)
    if isinstance(verdict, Refusal):
        is_left = verdict.is_unknown and config.agent.unknown == "ignore"
        status = "left to another agent" if is_left else "REJECTED"
        return {"runs": False, "status": status, "reason": verdict.reason}
    steps = [_facts(config, catalog, step) for step in verdict.steps]
    limits = await unit_limits(step["profile"] for step in steps if step["profile"])
    for step in steps:
        step["limits"] = limits.get(step["profile"], {})
    only = "" if config.agent.only == "*" else config.agent.only
    return {
        "runs": True,
        "only": only,
        "exclusive": verdict.is_exclusive,
        "steps": steps,
        "doubts": _doubts(verdict, catalog),
    }


def _facts(config: Config, catalog: Catalog, step: Step) -> dict[str, Any]:
    profile = ""
    if config.handlers.launcher == "units":
        profile = f"{AS_USER}{step.user}" if step.user else config.profile_of(step.handler)
    return {
        "name": step.name,
        "handler": step.handler,
        "source": catalog.find(step.handler).origin,
        "command": list(step.argv) if step.kind is StepKind.COMMAND else None,
        "user": step.user,
        "profile": profile,
        "timeout_s": step.timeout_s,
        "max_timeout_s": step.max_timeout_s,
        "grace_s": step.grace_s,
        "quota_mb": step.quota_mb,
        "on_interrupt": str(step.on_interrupt),
        "may_reboot": step.may_reboot,
        "retry_limit": step.retry_limit if step.kind is StepKind.HANDLER else 0,
        "retry_delay_s": step.retry_delay_s,
        "ignore_failure": step.ignore_failure,
    }


def _doubts(plan: Plan, catalog: Catalog) -> list[str]:
    """Return what Python handlers will probably refuse when they run: their params do not fit what they declare.

    Nothing is said of params with a placeholder, since AWS replaces it before a device gets the document.
    """
    doubts = []
    for number, step in enumerate(plan.steps, 1):
        handler = catalog.enabled()[step.handler]
        if step.kind is StepKind.HANDLER and handler.params and not handler.directory and "${aws:" not in step.input:
            problem = params_problem(handler.params, json.loads(step.input))
            doubts += [f"step {number}: {problem}"] if problem else []
    return doubts


def _text(said: Mapping[str, Any]) -> Iterator[str]:
    if not said["runs"]:
        yield f"{said['status']}: {said['reason']}"
        return
    steps = said["steps"]
    alone = ", with nothing else beside it" if said["exclusive"] else ""
    yield f"It would run{alone}: {len(steps)} step{'s' if len(steps) > 1 else ''}."
    if said["only"]:
        yield f"But only if the job's id matches {said['only']} (agent.only)."
    for number, step in enumerate(steps, 1):
        yield f"{number}. {step['name']}"
        for label, value in _lines(step):
            yield f"   {label.ljust(LABEL - 3)}{value}"
    for doubt in said["doubts"]:
        yield f"It would probably be refused at {doubt}"


def _lines(step: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "handler", f"{step['handler']} ({step['source']})"
    if step["command"] is not None:
        yield "command", " ".join(json.dumps(word) if not word or " " in word else word for word in step["command"])
    user = step["user"] or ("one of its own" if step["profile"] else "the agent's")
    unit = (
        f", in a unit of the profile {step['profile']} ({NAME.format(step['profile'], '')})" if step["profile"] else ""
    )
    yield "user", f"{user}{unit}"
    longer = (
        f", {duration_in_words(step['max_timeout_s'])} if it asks" if step["max_timeout_s"] > step["timeout_s"] else ""
    )
    yield "time", f"{duration_in_words(step['timeout_s'])}{longer}, and {duration_in_words(step['grace_s'])} to stop"
    yield "disk", f"{step['quota_mb']} MiB"
    if step["limits"]:
        yield "limits", ", ".join(f"{key}={value}" for key, value in step["limits"].items())
    yield "interrupted", INTERRUPTED[OnInterrupt(step["on_interrupt"])]
    if step["retry_limit"]:
        yield "tries", f"{step['retry_limit']} more if it asks, {duration_in_words(step['retry_delay_s'])} apart"
    if step["may_reboot"]:
        yield "reboot", "it may reboot this device"
    if step["ignore_failure"]:
        yield "failure", "the next step runs all the same"
