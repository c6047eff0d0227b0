"""How the service says no. Owns the codes; the listeners put them into the words of their own protocol."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Why a request was refused. The first nine are the codes of MQTT replies (developer guide, page jobs-api)."""

    INVALID_TOPIC = "InvalidTopic"
    INVALID_JSON = "InvalidJson"
    INVALID_REQUEST = "InvalidRequest"
    INVALID_STATE_TRANSITION = "InvalidStateTransition"
    RESOURCE_NOT_FOUND = "ResourceNotFound"
    VERSION_MISMATCH = "VersionMismatch"
    INTERNAL_ERROR = "InternalError"
    REQUEST_THROTTLED = "RequestThrottled"
    TERMINAL_STATE_REACHED = "TerminalStateReached"
    RESOURCE_ALREADY_EXISTS = "ResourceAlreadyExists"
    VERSION_CONFLICT = "VersionConflict"
    LIMIT_EXCEEDED = "LimitExceeded"
    CONFLICT = "Conflict"
    INVALID_JOB_DOCUMENT = "InvalidJobDocument"


class Refused(Exception):  # noqa: N818 - "refused" is the word for an answer that says no
    """A request that the service does not fulfil; nothing was changed.

    `members` go into the answer beside code and message: `executionState` for the two codes that carry it, the
    resource for ResourceAlreadyExists. A fault may bring a code of its own and the HTTP `status` that goes with it.
    """

    def __init__(
        self, code: str, message: str, members: Mapping[str, Any] | None = None, status: int | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.members = dict(members or {})
        self.status = status


def invalid(message: str) -> Refused:
    """The request's contents are wrong."""
    return Refused(Code.INVALID_REQUEST, message)


def not_found(message: str) -> Refused:
    """What the request names does not exist."""
    return Refused(Code.RESOURCE_NOT_FOUND, message)


def check_version(what: str, found: int, expected: int | None) -> None:
    """Refuse with VersionConflict, the control plane's word, what was meant for another version."""
    if expected not in (None, found):
        raise Refused(Code.VERSION_CONFLICT, f"{what}: expected version {expected} but found version {found}")
