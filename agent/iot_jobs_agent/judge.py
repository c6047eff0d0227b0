"""What we make of a job document, by the catalog's handlers and the configuration's rules."""

import json
import re
from typing import Any

from iot_jobs_agent.aws.messages import ServiceExecution
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.core.job import Plan, Refusal
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import Namespace
from iot_jobs_agent.errors import DocumentError, UnavailableHandlerError, UnknownHandlerError

UNREADABLE = Refusal("the job document cannot be read: it must be a JSON object, nested at most 100 deep")
_LONGEST_OPERATION = 100
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{_LONGEST_OPERATION}}}")


class Judge:
    """Judges documents by what is installed and allowed now: a new version of a handler counts from the next one on."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config = config
        self._catalog = catalog

    async def verdict(self, found: ServiceExecution) -> tuple[Plan | Refusal, str]:
        """Return the plan, or why there is none; and what people call it, the operation."""
        await self._catalog.refresh()
        try:
            try:
                judged = self._plan(found)
            except UnavailableHandlerError:  # it may only have been too slow when it was asked, so it is asked again
                await self._catalog.refresh(again=True)
                judged = self._plan(found)
        except DocumentError as error:
            return Refusal(str(error), isinstance(error, UnknownHandlerError)), _operation_named(found.document)
        except (ValueError, RecursionError):  # half a surrogate pair, an integer of more digits than Python writes
            return UNREADABLE, ""
        return judged, ", ".join(step.name for step in judged.steps)[:_LONGEST_OPERATION]

    def _plan(self, found: ServiceExecution) -> Plan:
        size_bytes = len(json.dumps(found.document, ensure_ascii=False, separators=(",", ":")).encode())
        namespace = Namespace(found.id.namespace, self._config.bound_handler(found.id.namespace))
        enabled, rules = self._catalog.enabled(), self._catalog.rules()
        return plan(found.document, size_bytes=size_bytes, namespace=namespace, enabled=enabled, rules=rules)


def _operation_named(document: Any) -> str:
    """Return the operation that a refused document asks for, if that looks like a name: it might be an address."""
    operation = document.get("operation") if isinstance(document, dict) else None
    return operation if isinstance(operation, str) and _NAME.fullmatch(operation) else ""
