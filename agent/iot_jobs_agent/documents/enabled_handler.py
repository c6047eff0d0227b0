"""An enabled handler as documents see it, and how a part of a job document becomes a step that runs it.

Owns the facts by which documents are judged (`EnabledHandler`, `Namespace`, `Rules`), and the reasons for refusing one
because its handler is not enabled or cannot run. Pure.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.core.job import OnInterrupt, Step, StepKind
from iot_jobs_agent.documents.params import params_problem
from iot_jobs_agent.errors import DocumentError, UnavailableHandlerError, UnknownHandlerError
from iot_jobs_agent.handler_name import handler_name_problem

_LONGEST_SHOWN = 64
_SHELLS = frozenset({"ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "sh", "tcsh", "zsh"})


class EnabledHandler(NamedTuple):
    """One enabled handler, as the catalog found it.

    `argv` starts it, without the verb (`run` or `resume`). `settings` is the JSON text of its own settings.
    `directory` is the configured directory that contains an executable or script, "" for a Python handler.
    `unavailable` says why it cannot run now, "" if it can. The rest is its manifest (docs/handlers.md) with the
    configuration's overrides: durations in seconds, `quota_mb` in MiB, `params` the JSON Schema of its params. Its
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

    @property
    def longest_s(self) -> float:
        """For how many seconds an attempt may last: to its last deadline, and until it has ended."""
        return self.max_timeout_s + self.grace_s


class Namespace(NamedTuple):
    """The namespace of a document (`""` is the default one) and the handler that it is bound to, or ""."""

    name: str = ""
    handler: str = ""


class DocumentRule(NamedTuple):
    """`[[documents]]`: which handler gets documents of no known form, if they have the member `has`; "" is any."""

    handler: str
    has: str = ""


class Rules(NamedTuple):
    """What the configuration allows in AWS's forms of document: paths, users, programs. `own_user` is the agent's.

    `device` has the facts that a document's `conditions` may name, "" for a fact that is not known. `operations` maps
    what documents call a handler to the handler's name; the first of `documents` that fits takes a document of no
    known form. `has_units` says that handlers run in units, and so can run as another user; `profiles` has those of the
    handlers that have one of their own.
    """

    directories: tuple[str, ...] = ()
    run_as_users: tuple[str, ...] = ()
    own_user: str = ""
    programs: tuple[str, ...] = ()
    device: Mapping[str, str] = {}
    operations: Mapping[str, str] = {}
    documents: tuple[DocumentRule, ...] = ()
    profiles: Mapping[str, str] = {}
    has_units: bool = False


def shown(name: str) -> str:
    """Return a name from a document, made safe to show in a reason: quoted, ASCII, short, without a URL's query."""
    bare = name.split("?", 1)[0]
    return json.dumps(bare if len(bare) <= _LONGEST_SHOWN else f"{bare[:_LONGEST_SHOWN]}...")


def resolved_name(asked: str, operations: Mapping[str, str]) -> str:
    """Return the name of the handler that a document calls `asked`: as `operations` maps it, or without .sh."""
    bare = asked.removesuffix(".sh")
    return operations.get(asked) or operations.get(bare, bare)


def declared_params(handler: EnabledHandler) -> frozenset[str]:
    """Return the names of the params that a handler declares in the JSON Schema of its manifest."""
    properties = handler.params.get("properties")
    return frozenset(properties) if isinstance(properties, Mapping) else frozenset()


def find_handler(
    enabled: Mapping[str, EnabledHandler], asked: str, *, where: str, operations: Mapping[str, str] | None = None
) -> EnabledHandler:
    """Return the handler that a document calls `asked`, in its member `where`; None if `operations` do not count there.

    Raises:
        UnknownHandlerError: it is not enabled here. The reason advises only what the configuration accepts.
        UnavailableHandlerError: it is enabled, but cannot run.
    """
    name = resolved_name(asked, operations or {})
    handler = enabled.get(name)
    if handler is None:
        raise UnknownHandlerError(f"{where}: {_how_to_enable(asked, name, can_map=operations is not None)}")
    if handler.unavailable:
        raise UnavailableHandlerError(f"{where}: handler {shown(name)} is unavailable: {handler.unavailable}")
    return handler


def _how_to_enable(asked: str, name: str, *, can_map: bool) -> str:
    head = f"handler {shown(name or asked)} is not enabled on this device"
    if asked.rpartition("/")[2] in _SHELLS:
        return (
            f"{head}, and a shell is not a handler; to allow a program, list it in handler.run-command.programs in the "
            "device's configuration and run it with runCommand; for a script, put it into one of handlers.directories"
        )
    if handler_name_problem(name):
        return (
            f"{head}, and its text cannot be the name of a handler; map {_the_text(asked)} to an enabled handler in "
            "[operations] in the device's configuration"
        )
    install = "" if name in BUILT_INS else "install it there and "
    mapped = f", or map {_the_text(asked)} to an enabled handler in [operations]" if can_map else ""
    return f"{head}; {install}add {shown(name)} to handlers.enabled in its configuration{mapped}"


def _the_text(asked: str) -> str:
    """Return what a document calls a handler, as TOML spells it too, if all of it may be shown."""
    text = shown(asked)
    is_toml = text.isprintable() and asked.isprintable() and all(letter <= "\uffff" for letter in asked)
    return text if is_toml and json.loads(text) == asked else "that text"


def handler_step(handler: EnabledHandler, params: Mapping[str, Any], *, name: str = "") -> Step:
    """Return a step that runs `handler` under protocol 1.

    Raises:
        DocumentError: the params do not fit the schema that an executable declares. Python handlers check their own.
    """
    if handler.directory and handler.params and (problem := params_problem(handler.params, params)):
        raise DocumentError(problem)
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
