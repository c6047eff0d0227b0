"""The configuration as the rest of the agent sees it: plain immutable values, which were checked before.

`config.keys` has the pydantic models that check the file. These are named tuples because it takes half a millisecond at
each start to define a frozen slotted dataclass, and a tenth of that for a named tuple (figures in docs/decisions.md).
"""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

STATE_DIRECTORY = Path("/var/lib/iot-jobs-agent")  # if the file names no other
SUBSCRIPTIONS_PER_CONNECTION = 50  # AWS IoT Core quotas, "Subscriptions per connection"
_DEFAULT_SUBSCRIPTIONS = 5  # P/get/+ P/+/get/+ P/+/update/+ P/notify P/notify-next
_NAMESPACED_SUBSCRIPTIONS = 2  # P/+/+/get/+ P/+/+/update/+, shared by all namespaces
_EACH_NAMESPACE = 2  # P/notify-namespace-NS P/notify-next-namespace-NS
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Proxy(NamedTuple):
    """An HTTP proxy. As text it is its address, without the user and the password."""

    host: str
    port: int
    user: str = ""
    password: str = ""

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"

    def __repr__(self) -> str:
        return str(self)


class Aws(NamedTuple):
    """`[aws]`: where the service is, and which thing this device is. Durations are in seconds."""

    endpoint: str
    port: int
    https_endpoint: str
    https_port: int
    thing_name: str
    client_id: str
    certificate: Path
    private_key: Path
    root_ca: Path
    proxy: Proxy | None
    tls: bool
    default_namespace: bool
    api_text_topics: bool
    keep_alive_s: int
    connect_timeout_s: float
    request_timeout_s: float

    @property
    def endpoint_is_loopback(self) -> bool:
        """True if traffic to `endpoint` never leaves this machine."""
        try:
            return ip_address(self.endpoint).is_loopback
        except ValueError:
            return self.endpoint == "localhost"


class NamespaceEntry(NamedTuple):
    """One `[[namespaces]]`: served besides the default namespace, and bound to a handler if `handler` is set."""

    id: str
    handler: str | None = None


class DocumentEntry(NamedTuple):
    """One `[[documents]]`: `handler` gets documents of no known form that have the member `has`; "" is any."""

    handler: str
    has: str = ""


class Agent(NamedTuple):
    """`[agent]`: how this process works. Durations are in seconds."""

    state_directory: Path
    max_concurrent: int
    poll_interval_s: float
    progress_interval_s: float
    only: str
    unknown: str
    reboot_command: tuple[str, ...]
    reboots_without_state: bool
    log_level: str
    log_format: str


class Handlers(NamedTuple):
    """`[handlers]`: what may run here at all."""

    enabled: tuple[str, ...]
    directories: tuple[Path, ...]
    run_as_users: tuple[str, ...]
    launcher: str
    profile: str


class HandlerTable(NamedTuple):
    """One `[handler.NAME]`: `overrides` replace members of the manifest, `settings` are the handler's own, as JSON.

    `profile` is that of the unit in which it runs; "" is the one of `[handlers]`.
    """

    overrides: Mapping[str, Any] = _NOTHING
    settings: Mapping[str, Any] = _NOTHING
    profile: str = ""


class Config(NamedTuple):
    """The whole file. `operations` maps what documents call a handler to the name of an enabled one."""

    aws: Aws
    agent: Agent
    handlers: Handlers
    namespaces: tuple[NamespaceEntry, ...] = ()
    handler: Mapping[str, HandlerTable] = _NOTHING
    operations: Mapping[str, str] = _NOTHING
    documents: tuple[DocumentEntry, ...] = ()

    @property
    def namespaces_served(self) -> tuple[str, ...]:
        """The namespaces to serve, in the order of the file. "" is the default namespace and comes first."""
        return (("",) if self.aws.default_namespace else ()) + tuple(entry.id for entry in self.namespaces)

    @property
    def subscriptions(self) -> int:
        """The number of subscriptions that the connection will have."""
        each = _EACH_NAMESPACE + self.aws.api_text_topics
        count = _DEFAULT_SUBSCRIPTIONS if self.aws.default_namespace else 0
        return count + (_NAMESPACED_SUBSCRIPTIONS + each * len(self.namespaces) if self.namespaces else 0)

    @property
    def profiles(self) -> Mapping[str, str]:
        """The profiles of the handlers that have one of their own."""
        return {name: table.profile for name, table in self.handler.items() if table.profile}

    def profile_of(self, handler: str) -> str:
        """Return the profile in which a handler runs, unless its document names a user."""
        return self.handler.get(handler, HandlerTable()).profile or self.handlers.profile

    def bound_handler(self, namespace: str) -> str:
        """Return the name of the handler that gets every document of the namespace, or ""."""
        return next((entry.handler or "" for entry in self.namespaces if entry.id == namespace), "")

    def handler_settings(self, name: str) -> Mapping[str, Any]:
        """Return the handler's own keys of `[handler.NAME]`, as JSON values."""
        return self.handler.get(name, HandlerTable()).settings

    def manifest_overrides(self, name: str) -> Mapping[str, Any]:
        """Return the keys of `[handler.NAME]` that replace members of the manifest."""
        return self.handler.get(name, HandlerTable()).overrides
