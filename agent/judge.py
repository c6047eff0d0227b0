"""What we make of a job document: the catalog's handlers and the config's rules, applied to what the service described."""

import json
import os
import pwd
from typing import Any

from agent.catalog import Catalog
from agent.config_keys import Config
from agent.core.job import Plan, Refusal
from agent.document import plan
from agent.errors import DocumentError
from agent.messages import ServiceExecution
from agent.offer import Namespace, Rules

UNREADABLE = Refusal("the job document cannot be read: it must be a JSON object, nested at most 100 deep")
_LONGEST_OPERATION = 100


class Judge:
    """Judges documents by what is installed and allowed now: a new version of a handler counts from the next look."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config = config
        self._catalog = catalog
        programs = config.handler_settings("run-command").get("programs", [])
        self._rules = Rules(
            directories=tuple(str(path) for path in config.handlers.directories),
            run_as_users=config.handlers.run_as_users,
            own_user=_own_user(),
            programs=tuple(programs),
        )

    async def verdict(self, found: ServiceExecution) -> tuple[Plan | Refusal, str]:
        """Return the plan, or why there is none, and what people call it: the operation."""
        await self._catalog.refresh()
        namespace = Namespace(found.id.namespace, self._config.bound_handler(found.id.namespace))
        try:
            size_bytes = len(json.dumps(found.document, ensure_ascii=False, separators=(",", ":")).encode())
            judged = plan(
                found.document,
                size_bytes=size_bytes,
                namespace=namespace,
                offers=self._catalog.offers(),
                rules=self._rules,
            )
        except DocumentError as error:
            return Refusal(str(error)), _named(found.document)
        except (UnicodeEncodeError, RecursionError):
            return UNREADABLE, ""
        return judged, ", ".join(step.name for step in judged.steps)[:_LONGEST_OPERATION]


def _named(document: Any) -> str:
    """Return the operation that a refused document asks for, if that is a plain word."""
    operation = document.get("operation") if isinstance(document, dict) else None
    is_plain = isinstance(operation, str) and operation.isascii() and operation.isprintable()
    return operation[:_LONGEST_OPERATION] if is_plain and isinstance(operation, str) else ""


def _own_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return ""
