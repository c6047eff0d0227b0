"""What a certificate allows: anything, or only the thing that its common name names. Pure.

A connection without a certificate (the plain ports) has no policy: it is how a test looks on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class PolicyName(StrEnum):
    """As the command line has it."""

    OPEN = "open"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Policy:
    """`is_thing` says whether a thing of that name is registered."""

    name: PolicyName
    is_thing: Callable[[str], bool]

    def admits(self, common_name: str | None) -> bool:
        """Whether the certificate may connect at all."""
        return self._is_free(common_name) or (common_name is not None and self.is_thing(common_name))

    def permits_client_id(self, common_name: str | None, client_id: str) -> bool:
        """Whether the certificate may connect with the client id: the thing's own name, as docs/install.md has it."""
        return self._is_free(common_name) or client_id == common_name

    def permits(self, common_name: str | None, topic: str) -> bool:
        """Whether the certificate may publish to the topic, or subscribe to the filter."""
        return self._is_free(common_name) or topic.startswith(f"$aws/things/{common_name}/")

    def permits_thing(self, common_name: str | None, thing_name: str) -> bool:
        """Whether the certificate may ask about the thing over HTTP."""
        return self._is_free(common_name) or common_name == thing_name

    def _is_free(self, common_name: str | None) -> bool:
        return common_name is None or self.name is PolicyName.OPEN
