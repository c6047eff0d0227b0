"""What this device offers to run, and how a piece of a job document becomes a step of it.

Owns the facts that documents are judged by (`Offer`, `Namespace`, `Rules`) and the words of "not here". Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iot_jobs_agent.core.job import Step, StepKind
from iot_jobs_agent.errors import UnavailableHandlerError, UnknownHandlerError
from iot_jobs_agent.handler import Manifest

_LONGEST_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Offer:
    """One enabled handler, as the catalog found it.

    `argv` starts it, but for the verb (`run` or `resume`). `settings` is the JSON text of its own settings.
    `directory` is the configured directory that an executable or script lies in, "" for a Python handler.
    `unavailable` says why it cannot run now, "" if it can.
    """

    name: str
    manifest: Manifest
    argv: tuple[str, ...] = ()
    settings: str = "{}"
    directory: str = ""
    unavailable: str = ""


@dataclass(frozen=True, slots=True)
class Namespace:
    """Where a document came from: `""` is the default namespace; `handler` is what it is bound to, or ""."""

    name: str = ""
    handler: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration allows AWS's documents: paths, users, programs. `own_user` is who the agent runs as.

    `device` are the facts that a document's `conditions` may ask for, "" for one that the device does not say.
    """

    directories: tuple[str, ...] = ()
    run_as_users: tuple[str, ...] = ()
    own_user: str = ""
    programs: tuple[str, ...] = ()
    device: Mapping[str, str] = field(default_factory=dict)


def shown(name: str) -> str:
    """A name from a document, safe to repeat in a reason: quoted, ASCII, short, without a URL's query."""
    bare = name.split("?", 1)[0]
    return json.dumps(bare if len(bare) <= _LONGEST_SHOWN else f"{bare[:_LONGEST_SHOWN]}...")


def find(offers: Mapping[str, Offer], name: str, *, where: str) -> Offer:
    """The handler of that name; `where` is the member of the document that asked for it.

    Raises:
        DocumentError: if it is not enabled here, or cannot run.
    """
    offer = offers.get(name)
    if offer is None:
        raise UnknownHandlerError(
            f"{where}: handler {shown(name)} is not enabled on this device; "
            "install it there and add it to handlers.enabled in its configuration"
        )
    if offer.unavailable:
        raise UnavailableHandlerError(f"{where}: handler {shown(name)} is unavailable: {offer.unavailable}")
    return offer


def handler_step(offer: Offer, params: Mapping[str, Any], *, name: str = "") -> Step:
    """A step under protocol 1."""
    return Step(
        name=name or offer.name,
        handler=offer.name,
        kind=StepKind.HANDLER,
        argv=offer.argv,
        input=json.dumps(params, allow_nan=False),
        settings=offer.settings,
        timeout_s=offer.manifest.timeout_s,
        max_timeout_s=offer.manifest.max_timeout_s,
        grace_s=offer.manifest.grace_s,
        quota_mb=offer.manifest.quota_mb,
        on_interrupt=offer.manifest.on_interrupt,
        exclusive=offer.manifest.exclusive,
        may_reboot=offer.manifest.may_reboot,
        retry_limit=offer.manifest.retry_limit,
        retry_delay_s=offer.manifest.retry_delay_s,
    )


def command_step(offer: Offer, argv: tuple[str, ...], *, name: str = "") -> Step:
    """A plain command under the limits of `offer`: exit 0 or not, no settings, no input."""
    return Step(
        name=name or offer.name,
        handler=offer.name,
        kind=StepKind.COMMAND,
        argv=argv,
        timeout_s=offer.manifest.timeout_s,
        max_timeout_s=offer.manifest.max_timeout_s,
        grace_s=offer.manifest.grace_s,
        quota_mb=offer.manifest.quota_mb,
        on_interrupt=offer.manifest.on_interrupt,
        exclusive=offer.manifest.exclusive,
    )
