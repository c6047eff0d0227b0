"""Judges job documents by the catalog's handlers and the configuration's rules."""

import json
import re
from pathlib import Path
from typing import Any

from iot_jobs_agent.aws.messages import ServiceExecution
from iot_jobs_agent.catalog.catalog import Catalog
from iot_jobs_agent.config.values import Config
from iot_jobs_agent.core.job import Plan, Refusal
from iot_jobs_agent.documents.document import plan
from iot_jobs_agent.documents.enabled_handler import Namespace
from iot_jobs_agent.errors import DocumentError, ForeignDocumentError, UnavailableHandlerError
from iot_jobs_agent.state.volatile import why_volatile

UNREADABLE = Refusal("the job document cannot be read: it must be a JSON object, nested at most 100 deep")
HALF_A_PAIR = Refusal("the document holds half of a surrogate pair; send well-formed Unicode")
_LONGEST_OPERATION = 100
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{_LONGEST_OPERATION}}}")


class Judge:
    """Judges documents by what is installed and allowed now: the next document already sees a new handler version."""

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config = config
        self._catalog = catalog
        self._why_no_reboot = "" if config.agent.reboots_without_state else _why_no_reboot(config.agent.state_directory)

    async def verdict(self, found: ServiceExecution) -> tuple[Plan | Refusal, str]:
        """Return the plan or the refusal, and the operation, which is the name that people know the work by."""
        await self._catalog.refresh()
        try:
            try:
                judged = self._plan(found)
            except UnavailableHandlerError:  # ask it again: it may only have been too slow to answer
                await self._catalog.refresh(again=True)
                judged = self._plan(found)
        except DocumentError as error:
            return Refusal(str(error), isinstance(error, ForeignDocumentError)), _operation_named(found.document)
        except UnicodeEncodeError:
            return HALF_A_PAIR, ""
        except (ValueError, RecursionError):  # an integer of more digits than Python writes
            return UNREADABLE, ""
        if self._why_no_reboot and any(step.may_reboot for step in judged.steps):
            return Refusal(f"it may reboot this device: {self._why_no_reboot}"), _names(judged)
        return judged, _names(judged)

    def _plan(self, found: ServiceExecution) -> Plan:
        size_bytes = len(json.dumps(found.document, ensure_ascii=False, separators=(",", ":")).encode())
        namespace = Namespace(found.id.namespace, self._config.bound_handler(found.id.namespace))
        enabled, rules = self._catalog.enabled(), self._catalog.rules()
        return plan(found.document, size_bytes=size_bytes, namespace=namespace, enabled=enabled, rules=rules)


def _names(judged: Plan) -> str:
    """Return the name that people know the work by."""
    return ", ".join(step.name for step in judged.steps)[:_LONGEST_OPERATION]


def _why_no_reboot(state_directory: Path) -> str:
    """Return why the agent would not know after a reboot what it was for, and what to do about it."""
    why = why_volatile(state_directory)
    if not why:
        return ""
    return f"{why}, so the agent's state would be lost; move agent.state_directory, or set agent.reboots_without_state"


def _operation_named(document: Any) -> str:
    """Return the operation that a refused document asks for, if it looks like a name and not, say, like a URL."""
    operation = document.get("operation") if isinstance(document, dict) else None
    return operation if isinstance(operation, str) and _NAME.fullmatch(operation) else ""
