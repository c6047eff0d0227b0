"""An enabled handler as documents see it, and how a part of a job document becomes a step that runs it.

Owns the facts by which documents are judged (`EnabledHandler`, `Namespace`, `Rules`), and the reasons for refusing one
because its handler is not enabled or cannot run. Pure.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from iot_jobs_agent.core.job import OnInterrupt, Step, StepKind
from iot_jobs_agent.errors import UnavailableHandlerError, UnknownHandlerError

_LONGEST_SHOWN = 64


class EnabledHandler(NamedTuple):
    """One enabled handler, as the catalog found it.

    `argv` starts it, without the verb (`run` or `resume`). `settings` is the JSON text of its own settings.
    `directory` is the configured directory that contains an executable or script, "" for a Python handler.
    `unavailable` says why it cannot run now, "" if it can. The rest is its manifest (docs/handlers.md) with the
    configuration's overrides: durations in seconds, `quota_mb` in MiB, `params` a JSON Schema for people and tools. Its
    defaults are those of `handler.Manifest`.
    """

    name: str
    summary: str
    params: Mapping[str, Any]
    timeout_s: float
    max_timeout_s: float
    grace_s: float
    on_interrupt: OnInterrupt
    exclusive: bool
    may_reboot: bool
    retry_limit: int
    retry_delay_s: float
    quota_mb: int
    argv: tuple[str, ...] = ()
    settings: str = "{}"
    directory: str = ""
    unavailable: str = ""


class Namespace(NamedTuple):
    """The namespace of a document (`""` is the default one) and the handler that it is bound to, or ""."""

    name: str = ""
    handler: str = ""


class Rules(NamedTuple):
    """What the configuration allows in AWS's forms of document: paths, users, programs. `own_user` is the agent's.

    `device` has the facts that a document's `conditions` may name, "" for a fact that is not known.
    """

    directories: tuple[str, ...] = ()
    run_as_users: tuple[str, ...] = ()
    own_user: str = ""
    programs: tuple[str, ...] = ()
    device: Mapping[str, str] = {}


def shown(name: str) -> str:
    """Return a name from a document, made safe to show in a reason: quoted, ASCII, short, without a URL's query."""
    bare = name.split("?", 1)[0]
    return json.dumps(bare if len(bare) <= _LONGEST_SHOWN else f"{bare[:_LONGEST_SHOWN]}...")


def find_handler(enabled: Mapping[str, EnabledHandler], name: str, *, where: str) -> EnabledHandler:
    """Return the handler `name`; `where` is the member of the document that asked for it.

    Raises:
        UnknownHandlerError: it is not enabled here.
        UnavailableHandlerError: it is enabled, but cannot run.
    """
    handler = enabled.get(name)
    if handler is None:
        raise UnknownHandlerError(
            f"{where}: handler {shown(name)} is not enabled on this device; "
            "install it there and add it to handlers.enabled in its configuration"
        )
    if handler.unavailable:
        raise UnavailableHandlerError(f"{where}: handler {shown(name)} is unavailable: {handler.unavailable}")
    return handler


def handler_step(handler: EnabledHandler, params: Mapping[str, Any], *, name: str = "") -> Step:
    """Return a step that runs `handler` under protocol 1."""
    return Step(
        name=name or handler.name,
        handler=handler.name,
        kind=StepKind.HANDLER,
        argv=handler.argv,
        input=json.dumps(params, allow_nan=False),
        settings=handler.settings,
        timeout_s=handler.timeout_s,
        max_timeout_s=handler.max_timeout_s,
        grace_s=handler.grace_s,
        quota_mb=handler.quota_mb,
        on_interrupt=handler.on_interrupt,
        exclusive=handler.exclusive,
        may_reboot=handler.may_reboot,
        retry_limit=handler.retry_limit,
        retry_delay_s=handler.retry_delay_s,
    )


def command_step(handler: EnabledHandler, argv: tuple[str, ...], *, name: str = "") -> Step:
    """Return a plain command with the limits of `handler`: exit code 0 or not, without settings or input."""
    return Step(
        name=name or handler.name,
        handler=handler.name,
        kind=StepKind.COMMAND,
        argv=argv,
        timeout_s=handler.timeout_s,
        max_timeout_s=handler.max_timeout_s,
        grace_s=handler.grace_s,
        quota_mb=handler.quota_mb,
        on_interrupt=handler.on_interrupt,
        exclusive=handler.exclusive,
    )
