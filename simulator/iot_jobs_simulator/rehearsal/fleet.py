"""The fleet file: which devices there are, when they are there, how long they take, and how they fail.

Owns its form and the sentences about what is wrong with it. What is drawn from it is the business of `fates`.
"""

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, ValidationError, model_validator

from iot_jobs_simulator.rehearsal.spread import Spread, read_spread

MAX_THINGS: Final = 1_000_000
SILENT: Final = "SILENT"
_DIGITS: Final = 7

Share = Annotated[float, Field(ge=0, le=1)]
Quantiles = Annotated[InstanceOf[Spread], BeforeValidator(read_spread)]
# SILENT is what AWS has no status for: the device starts the execution, and nobody ever hears how it ended.
FailureStatus = Literal["FAILED", "REJECTED", "SILENT"]


class FleetError(Exception):
    """A fleet file that cannot be used; the text names the key and the fix."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Offline(_Table):
    """Devices that are away when the job is created, each for itself. `back_after_h` counts from then."""

    share: Share
    back_after_h: Quantiles


class Sites(_Table):
    """Places of so many devices each, of which some have no network: all their devices come back together."""

    size: int = Field(ge=1)
    offline_share: Share
    back_after_h: Quantiles


class Failure(_Table):
    """A cause of failure. One that persists hits a device at every attempt, another one each attempt for itself."""

    cause: str = Field(min_length=1)
    share: Share
    status: FailureStatus = "FAILED"
    persists: bool = False


class Group(_Table):
    """A thing group. `reaction_s` passes between a notification and the start, `duration_min` from there to the end."""

    size: int = Field(ge=1, le=MAX_THINGS)
    duration_min: Quantiles
    reaction_s: Quantiles = Field(default=read_spread({"p0": 0.2, "p50": 1, "p100": 5}))
    offline: Offline | None = None
    never_online_share: Share = 0
    sites: Sites | None = None
    failures: tuple[Failure, ...] = ()

    @model_validator(mode="after")
    def _check_sums(self) -> "Group":
        away = self.never_online_share + (self.offline.share if self.offline else 0)
        if away > 1:
            raise ValueError(f"never_online_share and offline.share add up to {away:g}; a share of 1 is all devices")
        for persists in (True, False):
            total = sum(each.share for each in self.failures if each.persists == persists)
            if total > 1:
                raise ValueError(f"the shares of failures add up to {total:g}; a share of 1 is all devices")
        return self


class BadBuild(_Table):
    """With `probability`, the job's build is bad for this share of all devices, at every attempt."""

    probability: Share = 1
    share: Share
    status: FailureStatus = "FAILED"
    cause: str = Field(default="bad build", min_length=1)


class Fleet(_Table):
    """All devices. A thing is named `GROUP-0000001`, from 1 on."""

    groups: dict[Annotated[str, Field(pattern=r"^[a-zA-Z0-9:_-]{1,100}$")], Group] = Field(min_length=1)
    bad_build: BadBuild | None = None

    @model_validator(mode="after")
    def _check_size(self) -> "Fleet":
        if self.size > MAX_THINGS:
            raise ValueError(f"the groups have {self.size} devices together; at most {MAX_THINGS} are possible")
        return self

    @property
    def size(self) -> int:
        """How many devices there are."""
        return sum(group.size for group in self.groups.values())

    @property
    def places(self) -> dict[str, range]:
        """The devices of each group, as numbers in the whole fleet."""
        places, first = {}, 0
        for name, group in self.groups.items():
            places[name] = range(first, first + group.size)
            first += group.size
        return places

    def thing_names(self, group: str) -> list[str]:
        """The names of a group's devices; their order by name is that of their numbers."""
        return [f"{group}-{number:0{_DIGITS}}" for number in range(1, self.groups[group].size + 1)]


def load_fleet(path: Path) -> Fleet:
    """Read a fleet file; FleetError, or OSError."""
    try:
        written = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FleetError(f"{path} is not TOML: {error}") from None
    return fleet_of(written)


def fleet_of(written: dict[str, Any]) -> Fleet:
    """The fleet that a file's tables describe; FleetError."""
    try:
        return Fleet.model_validate(written)
    except ValidationError as error:
        raise FleetError("; ".join(_sentences(error))) from None


def _sentences(error: ValidationError) -> Iterator[str]:
    for each in error.errors():
        where, what = ".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")
        match each["type"]:
            case "extra_forbidden":
                yield f"{where} is not a key here{_nearest(str(each['loc'][-1]))}"
            case "missing":
                yield f"{where} is missing"
            case "greater_than_equal" | "less_than_equal" if where.rpartition(".")[2] in _SHARES:
                yield f"{where} is {each['input']}; a share is a number from 0 to 1, so 20 % is 0.2"
            case "value_error":
                yield f"{where}: {what}" if where else what
            case _:
                yield f"{where} is {each['input']!r}: {what[0].lower()}{what[1:]}"


def _nearest(key: str) -> str:
    found = difflib.get_close_matches(key, _KEYS, 1)
    return f"; do you mean {found[0]}?" if found else f"; keys are {', '.join(_KEYS)}"


_KEYS: Final = sorted({key for table in _Table.__subclasses__() for key in table.model_fields})
_SHARES: Final = frozenset({"share", "offline_share", "never_online_share", "probability"})
