"""The keys of the configuration: the name, unit, default and limits of each, checked one by one.

`config.example.toml` is the reference for people. Nothing here touches a file; `config.config` reads it and checks the
rules across keys. The rest of the agent only sees plain values (`config.values`), not the pydantic models.
"""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import date, time
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from iot_jobs_agent.built_ins import BUILT_INS
from iot_jobs_agent.config.values import (
    STATE_DIRECTORY,
    Agent,
    Aws,
    Config,
    DocumentEntry,
    Handlers,
    HandlerTable,
    NamespaceEntry,
    Proxy,
)
from iot_jobs_agent.device import AS_USER, PROFILE_NAME, USER_NAME
from iot_jobs_agent.handler import Manifest, valid_handler_name

_ONLY_FOR_USERS = f"begins with {AS_USER}, as only those of steps with a `runAsUser` do (handlers.run_as_users)"
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
MANIFEST_KEYS = frozenset(Manifest.model_fields) - {"name"}


def _expanded(value: object, info: ValidationInfo) -> object:
    """Substitute ${CREDENTIALS_DIRECTORY}, the only variable that a path may use."""
    if not isinstance(value, str) or "${CREDENTIALS_DIRECTORY}" not in value:
        return value
    directory = (info.context or {}).get("CREDENTIALS_DIRECTORY", "")
    if not directory:
        msg = (
            "uses ${CREDENTIALS_DIRECTORY}, which systemd sets for the service only; for a command, set it to the "
            "directory of the files (`sudo CREDENTIALS_DIRECTORY=/etc/iot-jobs-agent/credentials iot-jobs-agent ...`)"
        )
        raise ValueError(msg)
    return value.replace("${CREDENTIALS_DIRECTORY}", directory)


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("is not an absolute path; begin it with /")
    return path


def _host(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        labels = name.removesuffix(".").split(".")
        if len(name) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):  # noqa: PLR2004 - RFC 1035
            msg = (
                "is not a host name; give the endpointAddress that "
                "`aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints, without scheme, port or path"
            )
            raise ValueError(msg) from None
    return name


def _client_id(value: str) -> str:
    if not 1 <= len(value.encode(errors="replace")) <= 128 or not value.isprintable() or value.startswith("$"):  # noqa: PLR2004 - AWS IoT Core quotas, "Client ID size"
        raise ValueError("must be 1 to 128 bytes of printable text that does not begin with $; choose another one")
    return value


def _proxy(url: str) -> str:
    if url and not _is_proxy(url):
        raise ValueError("is not the address of an HTTP proxy; write it like http://proxy.example:3128, with its port")
    return url


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _host(parts.hostname or "")
        is_address = parts.scheme == "http" and bool(parts.port) and parts.path in {"", "/"}
        return is_address and not parts.query and not parts.fragment and url.isprintable()
    except ValueError:
        return False


ConfigPath = Annotated[Path, Field(strict=False), BeforeValidator(_expanded), AfterValidator(_absolute)]
Host = Annotated[str, AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
HandlerName = Annotated[str, AfterValidator(valid_handler_name)]


_NOT_FOR_HANDLERS = {"forget", "describe"}


def _profile(name: str) -> str:
    if name in _NOT_FOR_HANDLERS:
        raise ValueError("is not for handlers, since its unit is the agent's own; name another one")
    if name.startswith(AS_USER):
        raise ValueError(f"{_ONLY_FOR_USERS}; name another one")
    return name


def _handler_keys(table: dict[str, Any]) -> dict[str, Any]:
    """Check the one key of a handler's table that is neither the manifest's nor the handler's own."""
    profile = table.get("profile", "network")
    if not isinstance(profile, str) or not re.fullmatch(PROFILE_NAME, profile) or profile in _NOT_FOR_HANDLERS:
        raise ValueError("profile is not the name of one; write 1 to 32 of the characters a-z 0-9 -, a letter first")
    if profile.startswith(AS_USER):
        raise ValueError(f"profile {_ONLY_FOR_USERS}; name another one")
    return table


Profile = Annotated[str, Field(pattern=PROFILE_NAME), AfterValidator(_profile)]
HandlerKeys = Annotated[dict[str, Any], AfterValidator(_handler_keys)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class AwsTable(_Table):
    """`[aws]`: where the service is, and which thing this device is."""

    endpoint: Host
    port: Port = 8883
    https_endpoint: Host = ""
    https_port: Port = 8443
    thing_name: str = Field(pattern=r"^[a-zA-Z0-9:_-]{1,128}$")
    client_id: Annotated[str, AfterValidator(_client_id)] = ""
    certificate: ConfigPath
    private_key: ConfigPath
    root_ca: ConfigPath
    proxy: Annotated[str, AfterValidator(_proxy)] = ""
    tls: bool = True
    default_namespace: bool = True
    api_text_topics: bool = True
    keep_alive_s: int = Field(default=60, ge=5, le=1200)
    connect_timeout_s: float = Field(default=10.0, gt=0, le=300)
    request_timeout_s: float = Field(default=10.0, gt=0, le=300)

    def values(self) -> Aws:
        """Return the plain values, with defaults for the names that follow from another key."""
        followed = {
            "https_endpoint": self.https_endpoint or self.endpoint,
            "client_id": self.client_id or self.thing_name,
            "proxy": _proxy_values(self.proxy) if self.proxy else None,
        }
        return Aws(**dict(self) | followed)


class NamespaceTable(_Table):
    """One `[[namespaces]]`: served besides the default namespace, and bound to a handler if `handler` is set."""

    id: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    handler: HandlerName | None = None


class AgentTable(_Table):
    """`[agent]`: how this process works."""

    state_directory: ConfigPath = STATE_DIRECTORY
    max_concurrent: int = Field(default=1, ge=1, le=16)
    poll_interval_s: float = Field(default=1800.0, ge=1, le=86400)
    progress_interval_s: float = Field(default=10.0, ge=0, le=3600)
    only: str = Field(default="*", min_length=1, max_length=256)
    unknown: Literal["reject", "ignore"] = "reject"
    reboot_command: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("systemctl", "reboot")
    reboots_without_state: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"


class HandlersTable(_Table):
    """`[handlers]`: what may run here at all."""

    enabled: Annotated[tuple[HandlerName, ...], Field(strict=False)] = ()
    directories: Annotated[tuple[ConfigPath, ...], Field(strict=False)] = ()
    run_as_users: Annotated[tuple[Annotated[str, Field(pattern=USER_NAME)], ...], Field(strict=False)] = ()
    launcher: Literal["plain", "units"] = "plain"
    profile: Profile = "network"

    @field_validator("enabled", "directories")
    @classmethod
    def _no_two_alike(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        for value, count in Counter(values).items():
            if count > 1:
                msg = f"names {value} {count} times; name it once"
                raise ValueError(msg)
        return values


class DocumentTable(_Table):
    """One `[[documents]]`: `handler` gets documents of no known form, if they have the member `has` where it is set."""

    handler: HandlerName
    has: str | None = Field(default=None, min_length=1)


class ConfigFile(_Table):
    """The whole file. `config.config` checks the rules that involve more than one key."""

    aws: AwsTable
    namespaces: Annotated[tuple[NamespaceTable, ...], Field(strict=False)] = ()
    documents: Annotated[tuple[DocumentTable, ...], Field(strict=False)] = ()
    operations: dict[Annotated[str, Field(min_length=1)], HandlerName] = Field(default_factory=dict)
    agent: AgentTable = AgentTable()
    handlers: HandlersTable = HandlersTable()
    handler: dict[HandlerName, HandlerKeys] = Field(default_factory=dict)

    def values(self) -> Config:
        """Return the plain values of the whole file."""
        return Config(
            aws=self.aws.values(),
            agent=Agent(**dict(self.agent)),
            handlers=Handlers(**dict(self.handlers)),
            namespaces=tuple(NamespaceEntry(**dict(entry)) for entry in self.namespaces),
            handler=self._handler_tables(),
            operations=MappingProxyType(dict(self.operations)),
            documents=tuple(DocumentEntry(entry.handler, entry.has or "") for entry in self.documents),
        )

    def _handler_tables(self) -> Mapping[str, HandlerTable]:
        """Return the tables of all handlers. Built-ins that send HTTPS requests get the proxy of [aws] as a setting."""
        tables: dict[str, Mapping[str, Any]] = dict(self.handler)
        for name, built_in in BUILT_INS.items():
            if self.aws.proxy and built_in.uses_proxy:
                tables[name] = {"proxy": self.aws.proxy, **tables.get(name, {})}
        return MappingProxyType({name: _handler_table(table) for name, table in tables.items()})


def _proxy_values(url: str) -> Proxy:
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Proxy(parts.hostname or "", parts.port or 0, user, password)


def _handler_table(table: Mapping[str, Any]) -> HandlerTable:
    """Separate the manifest's keys from the handler's own. A TOML date or time becomes its ISO text."""
    overrides = {key: value for key, value in table.items() if key in MANIFEST_KEYS}
    settings = {key: _json_value(value) for key, value in table.items() if key not in MANIFEST_KEYS | {"profile"}}
    return HandlerTable(MappingProxyType(overrides), MappingProxyType(settings), table.get("profile", ""))


def _json_value(value: Any) -> Any:
    match value:
        case Mapping():
            return {str(key): _json_value(item) for key, item in value.items()}
        case list():
            return [_json_value(item) for item in value]
        case date() | time():
            return value.isoformat()
        case _:
            return value
